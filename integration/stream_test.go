package integration

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// Stream is a program that reads .commy/events.
type Stream struct {
	*Proc
	m *Mount
}

// Stream starts to read a stream of events, and returns once it waits for one.
func (m *Mount) Stream(name string) *Stream {
	m.t.Helper()
	before := m.stat("requests_blocked")
	s := &Stream{m.h.StartCommand("cat", m.Path(".commy/"+name)), m}
	testenv.Eventually(m.t, slower(10*time.Second), func() error {
		if m.stat("requests_blocked") <= before && !s.ended() {
			return errors.New("it does not wait for an event")
		}
		return nil
	})
	if s.ended() {
		m.t.Fatal(s.logs())
	}
	return s
}

type streamed struct {
	Change
	OldPath string `json:"old_path"`
	Dir     bool   `json:"dir"`
	Token   string `json:"token"`
	Dropped uint64 `json:"dropped"`
}

func (c streamed) String() string {
	s := c.Event + " " + c.Path
	if c.Event == "move" {
		s = c.Event + " " + c.OldPath + ">" + c.Path
	}
	if c.Dir {
		s += "/"
	}
	return s
}

func parseStream(t testing.TB, lines []string) (out []streamed) {
	t.Helper()
	for _, line := range lines {
		var c streamed
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out = append(out, c)
	}
	return out
}

// want waits until the stream has told of exactly these.
func (s *Stream) want(want ...string) (got []streamed) {
	s.t.Helper()
	testenv.Eventually(s.t, slower(10*time.Second), func() error {
		got = parseStream(s.t, s.stdout.Lines())
		var list []string
		for _, c := range got {
			list = append(list, c.String())
		}
		if !slices.Equal(list, want) {
			return fmt.Errorf("events %q, want %q", list, want)
		}
		return nil
	})
	return got
}

// TestS18_Stream: each change is a line, whoever made it.
func TestS18_Stream(t *testing.T) {
	t.Parallel()
	_, a, b := twoMounts(t)
	a.Write("t/s/old", "0")
	s, other := a.Stream("events"), b.Stream("events?path=t%2Fs%2Fd")
	a.Write("t/s/v", "1")
	s.want("create t/s/v") // values come from shared memory: a line can have a later one, and then tells of both changes
	b.WaitValue("t/s/v", "1")
	b.Write("t/s/v", "22")
	s.want("create t/s/v", "modify t/s/v")
	a.Mkdir("t/s/d")
	a.WaitValue("t/s/v", "22")
	if err := os.Rename(a.Path("t/s/v"), a.Path("t/s/d/w")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(a.Path("t/s/d/w"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(a.Path("t/s/d/w")); err != nil {
		t.Fatal(err)
	}
	a.Mkdir("u")
	a.Mkdir("u/new")
	a.Write("u/new/v", "5")
	got := s.want("create t/s/v", "modify t/s/v", "create t/s/d/", "move t/s/v>t/s/d/w", "attrib t/s/d/w", "delete t/s/d/w", "create u/", "create u/new/", "create u/new/v")
	if c := got[1]; c.Version != 2 || c.Size != 2 || c.Value != "MjI=" || c.Writer == "" || c.Time == "" || c.Token == "" {
		t.Errorf("%+v", c)
	}
	other.want("create t/s/d/", "move t/s/v>t/s/d/w", "attrib t/s/d/w", "delete t/s/d/w")

	// Another reader goes on from a token.
	again := a.Stream("events?since=" + got[5].Token)
	again.want("create u/", "create u/new/", "create u/new/v")
	a.Write("u/new/v", "6")
	again.want("create u/", "create u/new/", "create u/new/v", "modify u/new/v")
	// A token that is too old, or of another mount, is answered by a line that says so.
	for m, token := range map[*Mount]string{a: "ab:1", b: got[5].Token} {
		s := m.Stream("events?path=u&since=" + url.QueryEscape(token))
		a.Write("u/new/v", "of "+token)
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if n := len(s.stdout.Lines()); n != 2 {
				return fmt.Errorf("%d lines", n)
			}
			return nil
		})
		lines := parseStream(t, s.stdout.Lines())
		if lines[0].Event != "dropped" || lines[0].Dropped != 0 || lines[0].Token == "" || lines[1].Event != "modify" {
			t.Errorf("since %s: %q", token, s.stdout.Lines())
		}
	}
	for name, want := range map[string]syscall.Errno{"events?since=x": unix.EINVAL, "events?x=y": unix.ENOENT, "events?path=": unix.ENOENT, "events?": 0} {
		f, err := os.OpenFile(a.Path(".commy/"+name), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			f.Close()
		}
		if want == 0 && err != nil || want != 0 && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
}

// TestS18_Readers: a read that waits ends when it is to.
func TestS18_Readers(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "python3", "node", "busybox")
	h := NewHost(t)
	m := h.Mount("--timeout", "500ms") // the watchdog frees handlers that hang after a few seconds
	m.Mkdir("t")
	m.Mkdir("t/s")
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		s := m.Stream("events")
		s.Signal(sig)
		began := time.Now()
		s.Wait(5 * time.Second)
		if d := time.Since(began); d > slower(time.Second) {
			t.Errorf("%v: ended after %v", sig, d)
		}
	}
	// A stopped and continued reader goes on.
	s := m.Stream("events")
	s.Signal(syscall.SIGSTOP)
	s.Signal(syscall.SIGCONT)
	m.Write("t/s/v", "1")
	s.want("create t/s/v")

	fd, err := unix.Open(m.Path(".commy/events"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	if _, err := unix.Read(fd, buf); err != unix.EAGAIN {
		t.Errorf("with nothing to read: %v", err)
	}
	m.Write("t/s/v", "2")
	testenv.Eventually(t, slower(5*time.Second), func() error {
		n, err := unix.Read(fd, buf)
		if err != nil {
			return err
		}
		if c := parseStream(t, []string{strings.TrimSuffix(string(buf[:n]), "\n")}); c[0].String() != "modify t/s/v" {
			t.Errorf("%v", c)
		}
		return nil
	})

	// Many at a time leave room for others, and are not taken for requests that hang.
	readers := make([]*Proc, 50)
	for i := range readers {
		readers[i] = h.StartCommand("head", "-n", "1", m.Path(".commy/events"))
	}
	testenv.Eventually(t, slower(20*time.Second), func() error {
		if n := m.stat("requests_blocked"); n != len(readers)+1 {
			return fmt.Errorf("%d wait", n)
		}
		return nil
	})
	time.Sleep(2 * time.Second) // the watchdog looks every 0.75 s, and would speak at 3 s
	h.Doctor().want(t, "mount", "ok")
	time.Sleep(5 * time.Second)
	if log := m.Read(".commy/log"); strings.Contains(log, "not answered") || strings.Contains(log, "EIO") {
		t.Error(log)
	}
	m.Write("t/s/v", "3")
	for _, r := range readers {
		if code := r.Wait(slower(10 * time.Second)); code != 0 || len(r.stdout.Lines()) != 1 {
			t.Errorf("exit code %d: %s", code, r.logs())
		}
	}
	s.want("create t/s/v", "modify t/s/v", "modify t/s/v")

	for _, script := range []string{
		`python3 -c 'import sys; print(open(sys.argv[1]).readline(), end="")' "$1"`,
		`python3 -c 'import os, sys; print(os.read(os.open(sys.argv[1], os.O_RDONLY), 4096).decode(), end="")' "$1"`,
		`node -e 'let s = require("fs").createReadStream(process.argv[1]); s.on("data", d => { process.stdout.write(d); process.exit(0) })' "$1"`,
		`busybox head -n 1 "$1"`, `dd if="$1" bs=64k count=1 status=none`, `sh -c 'read -r x; echo "$x"' < "$1"`, `grep -m 1 modify "$1"`,
	} {
		before := m.stat("requests_blocked")
		p := h.StartCommand("sh", "-c", script, "sh", m.Path(".commy/events"))
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if m.stat("requests_blocked") == before {
				return errors.New("does not wait")
			}
			return nil
		})
		m.Write("t/s/v", script)
		if code := p.Wait(slower(10 * time.Second)); code != 0 || len(p.stdout.Lines()) != 1 || parseStream(t, p.stdout.Lines())[0].Path != "t/s/v" {
			t.Errorf("%s: exit code %d: %s", script, code, p.logs())
		}
	}
}

// TestS18_SlowReader: who does not read is told how much it has missed, and the mount's memory stays as it is.
func TestS18_SlowReader(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	m := h.Mount()
	m.Mkdir("t")
	m.Mkdir("t/s")
	f, err := os.Open(m.Path(".commy/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const writes = 30
	value := func(i int) string { return strings.Repeat(fmt.Sprintf("%9d\n", i), 90_000) }
	for i := range writes {
		m.Write("t/s/v", value(i))
		testenv.Eventually(t, slower(10*time.Second), func() error {
			if n := m.stat("stream_lines"); n != i+1 {
				return fmt.Errorf("%d lines after %d changes", n, i+1)
			}
			return nil
		})
	}
	r := bufio.NewReader(f)
	lines, dropped := 0, 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		c := parseStream(t, []string{line})[0]
		if c.Event == "dropped" {
			dropped += int(c.Dropped)
			continue
		}
		lines++
		if c.Version == writes {
			if got, err := base64.StdEncoding.DecodeString(c.Value); err != nil || string(got) != value(writes-1) {
				t.Errorf("the last value is %s, %v", quote(string(got)), err)
			}
			break
		}
	}
	if dropped == 0 || lines+dropped != writes || m.stat("stream_lines_dropped") != dropped {
		t.Errorf("%d lines and %d dropped of %d; stats say %d", lines, dropped, writes, m.stat("stream_lines_dropped"))
	}
}

// TestS18_Ends: a reader keeps no mount from ending.
func TestS18_Ends(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	for _, tt := range []struct {
		name string
		end  func(m *Mount)
	}{
		{"lazy", func(m *Mount) { h.Must("umount", "--lazy", m.Dir) }},
		{"twice", func(m *Mount) {
			m.Signal(syscall.SIGINT)
			testenv.Eventually(t, 10*time.Second, func() error {
				if !strings.Contains(m.stderr.String(), "interrupt again") {
					return errors.New("it does not say that it is in use")
				}
				return nil
			})
			m.Signal(syscall.SIGINT)
		}},
		{"killed", func(m *Mount) { m.KillHard() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := h.Mount(mortal)
			s := m.Stream("events")
			began := time.Now()
			tt.end(m)
			if tt.name == "lazy" { // as with every lazy unmount: who uses it can go on
				if d := time.Since(began); d > slower(5*time.Second) {
					t.Errorf("umount took %v", d)
				}
				s.Signal(syscall.SIGINT)
			}
			s.Wait(slower(10 * time.Second))
			m.Wait(slower(15 * time.Second))
		})
	}
	m := h.Mount()
	s := m.Stream("events")
	if r := h.Run("umount", m.Dir); r.Code == 0 || !strings.Contains(r.Stderr, strconv.Itoa(s.Pid())) {
		t.Errorf("umount of a mount that is read: %v", r)
	}
	s.Kill()
	m.Unmount()
}

// TestS18_Services: the services that a stream keeps loaded are counted.
func TestS18_Services(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	m := h.Mount()
	m.Mkdir("t")
	for _, name := range []string{"a", "b", "c"} {
		m.Mkdir("t/" + name)
	}
	one := m.Stream("events?path=t%2Fa")
	if n := m.stat("stream_services"); n != 1 {
		t.Errorf("%d services for one", n)
	}
	all := m.Stream("events")
	if n := m.stat("stream_services"); n != 4 {
		t.Errorf("%d services for one and all", n)
	}
	one.Kill()
	all.Kill()
}
