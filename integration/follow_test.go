package integration

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestS18_Follow: programs that follow a growing file print the events as they come, and so do those that wait in a read.
func TestS18_Follow(t *testing.T) {
	t.Parallel()
	testenv.Need(t, "python3", "node", "busybox", "perl", "jq", "less", "script", "socat")
	h := NewHost(t)
	m := h.Mount()
	m.Mkdir("t")
	m.Mkdir("t/s")
	m.Write("t/s/v", "0")
	// Somebody has read for a while: to who comes now the file is not empty.
	before := m.Stream("events")
	for i := range 100 {
		m.Write("t/s/v", fmt.Sprint("before", i))
	}
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if !strings.Contains(before.stdout.String(), `"version":101,`) {
			return errors.New("it has not read the last change")
		}
		return nil
	})
	scripts := []string{
		`exec tail -f "$1"`, `exec tail -n 0 -f "$1"`, `exec tail -F "$1"`, `exec tail -n 100000 -f "$1"`,
		`exec tail -s 0.1 -f "$1"`,
		`exec busybox tail -f "$1"`, `exec busybox tail -F "$1"`, `exec cat "$1"`, `exec busybox cat "$1"`, `exec dd if="$1" bs=1 status=none`,
		`while read -r x; do echo "$x"; done < "$1"`, `exec bash -c 'while read -t 20 -r x; do echo "$x"; done < "$1"' bash "$1"`,
		`exec grep --line-buffered modify "$1"`, `exec sed -u s/a/a/ "$1"`, `exec jq --unbuffered -c . "$1"`, `exec socat -u "FILE:$1" -`,
		`exec script -qfc "exec setpriv --pdeathsig KILL less +F $1" /dev/null`,
		`exec perl -ne '$| = 1; print' "$1"`,
		`exec python3 -uc 'import sys
for line in open(sys.argv[1]): print(line, end="")' "$1"`,
		`exec python3 -uc 'import sys, time
f = open(sys.argv[1])
f.seek(0, 2)
while True:
	line = f.readline()
	print(line, end="") if line else time.sleep(0.05)' "$1"`,
		`exec node -e 'require("fs").createReadStream(process.argv[1]).on("data", d => process.stdout.write(d))' "$1"`,
	}
	procs := make([]*Proc, len(scripts))
	for i, script := range scripts {
		procs[i] = h.StartCommand("sh", "-c", script, "sh", m.Path(".commy/events"))
	}
	// Programs that follow tell nobody when they have begun: each is to print three in a row.
	done := map[int]bool{}
	n := 0
	testenv.Eventually(t, slower(30*time.Second), func() error {
		n++
		m.Write("t/s/v", fmt.Sprint("value", n))
		for i, p := range procs {
			versions := followed(p.stdout.String())
			if len(versions) >= 3 {
				done[i] = true
			}
			for j := 1; j < len(versions); j++ {
				if versions[j] <= versions[j-1] {
					t.Fatalf("%s: versions %v", scripts[i], versions)
				}
			}
			if p.ended() {
				t.Fatalf("%s: has ended: %s", scripts[i], p.logs())
			}
		}
		var late []string
		for i, script := range scripts {
			if !done[i] {
				late = append(late, script+": "+procs[i].stdout.String())
			}
		}
		if len(late) > 0 {
			return fmt.Errorf("print nothing:\n%s", strings.Join(late, "\n"))
		}
		return nil
	})
	for _, p := range procs {
		p.Signal(syscall.SIGTERM) // on which script ends what it has started
		p.Wait(slower(10 * time.Second))
	}
}

// followed returns the versions of t/s/v in what a program has printed, which can be on a terminal.
func followed(out string) (versions []int) {
	for part := range strings.SplitSeq(out, `"version":`) {
		var n int
		if _, err := fmt.Sscanf(part, "%d,", &n); err == nil {
			versions = append(versions, n)
		}
	}
	return versions
}

// TestS18_Seek: data and holes are asked for without going to the end.
func TestS18_Seek(t *testing.T) {
	t.Parallel()
	h := NewHost(t)
	m := h.Mount()
	m.Mkdir("t")
	m.Mkdir("t/s")
	m.Write("t/s/v", "12345")
	f, err := os.Open(m.Path("t/s/v"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, tt := range []struct {
		offset int64
		whence int
		want   int64
		err    error
	}{
		{2, unix.SEEK_DATA, 2, nil}, {2, unix.SEEK_HOLE, 5, nil}, {5, unix.SEEK_DATA, 0, unix.ENXIO}, {5, unix.SEEK_HOLE, 0, unix.ENXIO},
		{-1, 2, 4, nil},
	} {
		if at, err := unix.Seek(int(f.Fd()), tt.offset, tt.whence); err != tt.err || err == nil && at != tt.want {
			t.Errorf("lseek(%d, %d): %d, %v", tt.offset, tt.whence, at, err)
		}
	}
	fd, err := unix.Open(m.Path(".commy/events"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	if at, err := unix.Seek(fd, 0, unix.SEEK_HOLE); at != 1 || err != nil {
		t.Errorf("a hole: %d, %v", at, err)
	}
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		t.Error(err)
	}
	if _, err := unix.Read(fd, buf); err != unix.EAGAIN {
		t.Errorf("read with nothing to read: %v", err)
	}
	if at, err := unix.Seek(fd, 0, 2); at != 1 || err != nil {
		t.Errorf("the end: %d, %v", at, err)
	}
	if n, err := unix.Read(fd, buf); n != 0 || err != nil {
		t.Errorf("read at the end: %d, %v", n, err)
	}
	m.Write("t/s/v", "1")
	testenv.Eventually(t, slower(5*time.Second), func() error {
		var s unix.Stat_t
		if err := unix.Fstat(fd, &s); err != nil {
			t.Fatal(err)
		}
		if s.Size <= 1 {
			return errors.New("the file does not grow")
		}
		if n, err := unix.Read(fd, buf); int64(n) != s.Size-1 || err != nil {
			t.Errorf("read %d bytes of %d, %v", n, s.Size, err)
		}
		return nil
	})
}
