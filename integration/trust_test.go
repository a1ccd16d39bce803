package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// TestTwoHosts_Revoked: who came in with a key that is revoked is told so: a command by its exit code, a mount by EACCES.
func TestTwoHosts_Revoked(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	r.server.Must("set", "t/s/v", "secret")
	m := r.client.Mount(r.args("--timeout", "2s")...)
	m.WaitValue("t/s/v", "secret")
	watch := r.client.Start(append([]string{"watch", "t/s"}, r.args()...)...)
	testenv.Eventually(t, slower(10*time.Second), func() error {
		if n := strings.Count(r.server.Must("status"), "watch"); n == 0 {
			return errors.New("nobody watches")
		}
		return nil
	})
	r.server.Must("key", "revoke", "laptop")
	if code := watch.Wait(slower(10 * time.Second)); code != 4 || !strings.Contains(watch.logs(), "key") {
		t.Errorf("watch ends with %d:\n%s", code, watch.logs())
	}
	wantError(t, r.client.Run(append([]string{"set", "t/s/v", "x"}, r.args()...)...), 4, "key")
	err := os.WriteFile(m.Path("t/s/v"), []byte("overwritten"), 0o644)
	if !errors.Is(err, syscall.EACCES) {
		t.Errorf("write into the mount: %v, want EACCES", err)
	}
	if got := r.server.Must("get", "t/s/v"); got != "secret" {
		t.Errorf("value %q", got)
	}
}

// TestTrust: what another user could have written is not obeyed, and a secret that others can read is not used.
func TestTrust(t *testing.T) {
	t.Parallel()
	testenv.Root(t)
	h := NewHost(t)
	dir := h.path("home/.config/commyfs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte("output: json\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.Must("set", "t/s/v", "1")
	if got := h.Must("ls"); !strings.HasPrefix(got, "[") && !strings.HasPrefix(got, "{") {
		t.Fatalf("config.yaml is not obeyed: %q", got)
	}
	if err := os.Chown(file, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"ls"}, {"get", "t/s/v"}, {"mount", h.NewDir()}, {"serve"}} {
		wantError(t, h.Run(args...), 2, file, "nobody", "0644")
	}
	if res := h.Run("doctor"); res.Code != 1 || !strings.Contains(res.Stdout, file) {
		t.Errorf("doctor: %v", res)
	}
	if err := errors.Join(os.Chown(file, 0, 0), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	wantError(t, h.Run("ls"), 2, dir, "0777")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}

	key := h.path("key")
	for mode, want := range map[os.FileMode]string{0o644: "other users can read it", 0o600: "--server"} {
		if err := errors.Join(os.WriteFile(key, []byte("commy_x"), mode), os.Chmod(key, mode)); err != nil {
			t.Fatal(err)
		}
		res := h.Run("ls", "--server", "wss://127.0.0.1:1", "--api-key-file", key)
		if says := strings.Contains(res.Stderr, "other users can read it"); says != (mode == 0o644) || res.Code == 0 {
			t.Errorf("key with mode %04o, want %q: %v", mode, want, res)
		}
	}
	for _, c := range []struct {
		name string
		mode os.FileMode
		args string
	}{
		{"ca", 0o666, "ls --server wss://127.0.0.1:1 --ca"}, {"client key", 0o644, "ls --server wss://127.0.0.1:1 --cert %s --key"}, {"server key", 0o644, "serve --listen 127.0.0.1:0 --tls-cert %s --tls-key"},
	} {
		file := h.path("file")
		if err := errors.Join(os.WriteFile(file, nil, c.mode), os.Chmod(file, c.mode)); err != nil {
			t.Fatal(err)
		}
		args := strings.Fields(strings.ReplaceAll(c.args, "%s", file))
		wantError(t, h.Run(append(args, file)...), 2, file, fmt.Sprintf("%04o", c.mode))
	}
}
