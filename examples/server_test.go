package examples_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/server"
)

// TestServer has the readers follow a variable of a server that fills the file, and is replaced by another server.
func TestServer(t *testing.T) {
	const last = 600
	dir := t.TempDir()
	o := server.Options{StateDir: filepath.Join(dir, "state"), RuntimeDir: filepath.Join(dir, "run")}
	serve := func() *server.Server {
		t.Helper()
		s, err := server.Start(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := serve()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	client, err := commyfs.Connect(t.Context(), commyfs.Options{URLs: []string{s.URL()}, Idle: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	line := client.Service("plant", "line1")
	put := func(name string, value []byte) {
		t.Helper()
		testenv.Eventually(t, bound, func() error { // the client connects anew after the restart
			_, err := line.Put(t.Context(), name, value)
			return err
		})
	}
	put("v", sealed(nil, 1))
	if _, err := line.Load(t.Context(), "v", nil); err != nil {
		t.Fatal(err)
	}
	var path string
	testenv.Eventually(t, bound, func() error {
		files, _ := filepath.Glob(filepath.Join(o.RuntimeDir, "*.mem"))
		if len(files) != 1 {
			return fmt.Errorf("memory files: %q", files)
		}
		path = files[0]
		return nil
	})
	generation := func() uint64 {
		r, err := memfile.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return r.Generation()
	}
	var readers []*process
	for _, c := range checkers {
		for _, env := range bothAccess {
			readers = append(readers, start(t, env, c.path(t), "follow", path, "v", fmt.Sprint(last)))
		}
	}
	first := generation()
	for n := uint64(2); n <= last; n++ {
		if n == last/2 {
			if generation() == first {
				t.Error("the file was never full")
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = serve()
		}
		if n%40 == 0 { // what fills the file
			put(fmt.Sprint("large", n), make([]byte, 1<<20))
		}
		put("v", sealed(nil, n))
	}
	for _, p := range readers {
		out, code := p.wait(t)
		if t.Logf("%s: %s", filepath.Base(p.cmd.Path), out); code != 0 || !strings.HasPrefix(out, fmt.Sprintf("saw %d ", last)) {
			t.Errorf("exit code %d: %s", code, out)
		}
	}
}
