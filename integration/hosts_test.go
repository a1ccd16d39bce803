package integration

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// remote is a second machine whose mounts go to a server of the first, over TLS.
type remote struct {
	server *Host
	client *Host
	cable  Netns // the server's end
	serve  *Server
	listen []string
	key    string // file
}

// newRemote makes two machines, a server that listens on the first and a key for the second.
func newRemote(t *testing.T) *remote {
	t.Helper()
	na, nb := Link(t)
	r := &remote{server: NewHost(t), client: NewHost(t), cable: na}
	r.server.netns, r.client.netns = na.Name, nb.Name
	r.listen = []string{"--listen", na.Addr + ":7443", "--tls-self-signed"}
	r.serve = r.server.Serve(r.listen...)
	if want := "wss://" + na.Addr + ":7443"; r.serve.URL != want {
		t.Fatalf("listening %q, want %q", r.serve.URL, want)
	}
	r.key = r.keyFile("key", r.server.Must("key", "create", "laptop"))
	// The authority's certificate is all that the other machine gets of this one's files.
	r.serve.CA = r.copyFile(r.serve.CA, "ca.pem")
	return r
}

func (r *remote) keyFile(name, key string) string {
	r.client.t.Helper()
	path := r.client.path(name)
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		r.client.t.Fatal(err)
	}
	return path
}

func (r *remote) copyFile(from, name string) string {
	r.client.t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		r.client.t.Fatal(err)
	}
	return r.keyFile(name, string(b))
}

// args leads to the server.
func (r *remote) args(more ...string) []string {
	return append([]string{"--server", r.serve.URL, "--ca", r.serve.CA, "--api-key-file", r.key}, more...)
}

func TestTwoHosts(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	near := r.server.Mount()
	far := r.client.Mount(r.args()...)

	t.Run("each way", func(t *testing.T) {
		near.Mkdir("t/s")
		near.Write("t/s/v", "from the server's machine")
		far.WaitValue("t/s/v", "from the server's machine")
		in := near.Inotify()
		far.Mkdir("t/far")
		in.Expect(0, "CREATE,ISDIR t/far")
		far.Write("t/s/v", "from the other machine")
		if got := near.Read("t/s/v"); got != "from the other machine" {
			t.Errorf("after close there: %q", got)
		}
		in.Expect(0, "MODIFY t/s/v", "CLOSE_WRITE t/s/v")
		in = far.Inotify()
		for i := range 200 {
			want := sealed(32+i*500, uint32(i))
			near.Write("t/s/w", want)
			far.WaitValue("t/s/w", want)
		}
		in.Expect(0, "CREATE t/s/w", "CLOSE_WRITE t/s/w")
		if a, b := near.Inode("t/s/w"), far.Inode("t/s/w"); a != b {
			t.Errorf("inode number %d here, %d there", a, b)
		}
		if got := r.client.Must(append([]string{"get", "t/s/v"}, r.args()...)...); got != "from the other machine" {
			t.Errorf("get over the network: %q", got)
		}
	})

	t.Run("modes and times", func(t *testing.T) {
		then := time.Unix(1e9, 7)
		near.chmod(0o600, "t/s/v", "t/s")
		if err := os.Chtimes(near.Path("t/s/v"), then, then); err != nil {
			t.Fatal(err)
		}
		far.waitMode("t/s/v", 0o600)
		far.waitMode("t/s", 0o600)
		far.waitTime("t/s/v", then)
		far.chmod(0o755, "t/s", "t/s/v")
		near.waitMode("t/s", 0o755)
		near.waitMode("t/s/v", 0o755)
		near.waitTime("t/s/v", then)
	})

	t.Run("status", func(t *testing.T) {
		s := near.h.Status()
		if !s.Connected || s.Server.Mode != "serve" || s.Server.Pid != r.serve.Pid() || s.Server.URL != r.serve.URL {
			t.Errorf("status there: %+v", s)
		}
	})

	t.Run("a server that goes and comes", func(t *testing.T) {
		const timeout = time.Second
		m := r.client.Mount(r.args("--timeout", timeout.String())...)
		m.Write("t/s/v", "known")
		near.WaitValue("t/s/v", "known")
		stale := func() string {
			return strings.TrimSpace(r.client.MustShell(`getfattr --only-values -n user.commy.stale "$1"`, m.Path("t/s/v")))
		}
		check := func(t *testing.T) {
			t.Helper()
			for _, shell := range []string{"dash", "bash"} {
				res := r.client.ShellBy(shell, `echo lost > "$1"`, m.Path("t/s/v"))
				if res.Code == 0 || !strings.Contains(res.Stderr, "Input/output error") && !strings.Contains(res.Stderr, "I/O error") {
					t.Errorf("want EIO: %v", res)
				}
				if limit := timeout + slower(2*time.Second); res.Took > limit {
					t.Errorf("took %v, more than %v", res.Took, limit)
				}
			}
			start := time.Now()
			if got := m.Read("t/s/v"); got != "known" {
				t.Errorf("read: %q", got)
			}
			r.client.MustShell(`ls -la "$1/t/s" && df "$1"`, m.Dir)
			if since, err := strconv.ParseInt(stale(), 10, 64); err != nil || time.Since(time.Unix(0, since)) < 0 || time.Since(time.Unix(0, since)) > time.Hour {
				t.Errorf("stale since %q", stale())
			}
			if took := time.Since(start); took > slower(time.Second) {
				t.Errorf("read, ls and df took %v", took)
			}
		}
		heal := func(t *testing.T) {
			t.Helper()
			testenv.Eventually(t, slower(20*time.Second), func() error {
				return os.WriteFile(m.Path("t/s/v"), []byte("healed"), 0o644)
			})
			near.WaitValue("t/s/v", "healed")
			near.Write("t/s/v", "and back")
			m.WaitValue("t/s/v", "and back")
			if got := stale(); got != "0" {
				t.Errorf("healed, and stale since %q", got)
			}
			m.Write("t/s/v", "known")
		}
		t.Run("ended", func(t *testing.T) {
			// The mount beside the server would start the next one: it is not what is tested.
			r.serve.Stop()
			check(t)
			r.serve.Proc = r.server.Serve(r.listen...).Proc
			heal(t)
		})
		t.Run("cable out", func(t *testing.T) {
			r.cable.Unplug()
			check(t)
			r.cable.Plug()
			heal(t)
		})
	})
}

// TestTwoHosts_Slow: what the far mount does before it can know what has happened elsewhere is judged by the server.
func TestTwoHosts_Slow(t *testing.T) {
	h := NewHost(t)
	s := h.Serve("--listen", "127.0.0.1:0", "--tls-self-signed")
	near := h.Mount()
	near.Mkdir("t/s")
	key := h.path("key")
	if err := os.WriteFile(key, []byte(h.Must("key", "create", "far")), 0o600); err != nil {
		t.Fatal(err)
	}
	line := newRelay(t, strings.TrimPrefix(s.URL, "wss://"), 100*time.Millisecond)
	far := NewHost(t).Mount("--server", "wss://"+line, "--ca", s.CA, "--api-key-file", key)

	t.Run("written anew", func(t *testing.T) {
		for i := range 5 {
			near.Write("t/s/v", "old")
			far.WaitValue("t/s/v", "old")
			if err := os.Remove(near.Path("t/s/v")); err != nil {
				t.Fatal(err)
			}
			far.Write("t/s/v", "new") // its kernel, and the mount, have the old file
			if got := near.Read("t/s/v"); got != "new" {
				t.Fatalf("round %d: %q", i, got)
			}
			far.WaitValue("t/s/v", "new")
		}
	})
	t.Run("over each other", func(t *testing.T) {
		near.Write("t/s/x", "0123456789")
		far.WaitValue("t/s/x", "0123456789")
		for i := range 5 {
			a, b := fmt.Sprintf("%d: as it is near", i), fmt.Sprintf("%d: from afar", i)
			done := make(chan error, 1)
			go func() { done <- os.WriteFile(far.Path("t/s/x"), []byte(b), 0o644) }()
			near.Write("t/s/x", a)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			got := near.Read("t/s/x")
			if got != a && got != b {
				t.Fatalf("round %d: %q was written by nobody", i, got)
			}
			far.WaitValue("t/s/x", got)
		}
	})
	t.Run("appends", func(t *testing.T) {
		near.Write("t/s/log", "")
		const each = 20
		var wg sync.WaitGroup
		for _, m := range []*Mount{near, far} {
			wg.Go(func() {
				if res := m.h.Shell(`for i in $(seq "$2"); do echo "$i" >> "$1"; done`, m.Path("t/s/log"), strconv.Itoa(each)); res.Code != 0 {
					t.Error(res)
				}
			})
		}
		wg.Wait()
		if got := strings.Count(near.Read("t/s/log"), "\n"); got != 2*each {
			t.Errorf("%d lines, want %d", got, 2*each)
		}
	})
}

// TestTwoHosts_Credentials: without a valid key nobody gets in, and is told so in one line.
func TestTwoHosts_Credentials(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	r.server.Must("set", "t/s/v", "secret")
	key, err := os.ReadFile(r.key)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(key), "\n") != 1 || len(strings.TrimSpace(string(key))) < 32 {
		t.Errorf("key create printed %q", key)
	}
	other := NewHost(t)
	otherCA := r.copyFile(other.Serve("--listen", "127.0.0.1:0", "--tls-self-signed").CA, "other.pem")
	wrong := []byte(strings.TrimSpace(string(key)))
	if wrong[len(wrong)-3] == 'A' {
		wrong[len(wrong)-3] = 'B'
	} else {
		wrong[len(wrong)-3] = 'A'
	}
	base := []string{"--server", r.serve.URL}
	for i, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no key", []string{"--ca", r.serve.CA}, 4, "key"},
		{"wrong key", []string{"--ca", r.serve.CA, "--api-key-file", r.keyFile("wrong", string(wrong))}, 4, "key"},
		{"malformed key", []string{"--ca", r.serve.CA, "--api-key-file", r.keyFile("malformed", "let me in")}, 4, "key"},
		{"wrong authority", []string{"--ca", otherCA, "--api-key-file", r.key}, 5, "certificate"},
		{"no authority", []string{"--api-key-file", r.key}, 5, "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := r.client.path("refused" + strconv.Itoa(i))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"mount", dir}, {"get", "t/s/v"}, {"ls"}} {
				res := r.client.Run(append(append(args, base...), c.args...)...)
				wantError(t, res, c.code, c.says)
				if strings.Contains(res.Stdout, "secret") {
					t.Errorf("got in: %v", res)
				}
				if strings.Contains(res.Stderr, strings.TrimSpace(string(key))) {
					t.Errorf("the key is in the message: %v", res)
				}
			}
			if left := mountsBelow(dir); len(left) > 0 {
				t.Errorf("mounted: %v", left)
			}
		})
	}

	t.Run("revoked", func(t *testing.T) {
		m := r.client.Mount(r.args("--timeout", "1s")...)
		m.WaitValue("t/s/v", "secret")
		r.server.Must("key", "revoke", "laptop")
		testenv.Eventually(t, slower(10*time.Second), func() error {
			return wantFailure(os.WriteFile(m.Path("t/s/v"), []byte("overwritten"), 0o644))
		})
		if got := r.server.Must("get", "t/s/v"); got != "secret" && got != "overwritten" {
			t.Errorf("value %q", got)
		}
		wantError(t, r.client.Run(append([]string{"get", "t/s/v"}, r.args()...)...), 4, "key")
		if out := r.server.Must("key", "list"); strings.Contains(out, "laptop") {
			t.Errorf("a revoked key is listed:\n%s", out)
		}
	})

	t.Run("tenants", func(t *testing.T) {
		r.server.Must("set", "open/s/v", "open")
		r.server.Must("set", "closed/s/v", "closed")
		key := r.keyFile("open", r.server.Must("key", "create", "open", "--tenant", "op*", "--rights", "read"))
		m := r.client.Mount(append(base, "--ca", r.serve.CA, "--api-key-file", key)...)
		m.WaitValue("open/s/v", "open")
		if got := strings.Join(m.List(""), " "); got != "open" {
			t.Errorf("tenants in the mount: %q", got)
		}
		if _, err := os.Stat(m.Path("closed/s/v")); err == nil {
			t.Error("a tenant that the key does not open can be reached")
		}
		if err := os.WriteFile(m.Path("open/s/v"), []byte("x"), 0o644); !os.IsPermission(err) {
			t.Errorf("write without the right: %v", err)
		}
		if res := r.client.Shell(`echo x > "$1"`, m.Path("open/s/v")); res.Code == 0 {
			t.Errorf("echo without the right: %v", res)
		}
		if got := m.Read("open/s/v"); got != "open" {
			t.Errorf("value %q", got)
		}
	})
}
