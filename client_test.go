package commyfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/server"
	"github.com/commy-project/commyfs/transport"
)

// host is a place where servers run one after the other on the same state.
type host struct {
	options server.Options
	srv     *server.Server
}

func newHost(t *testing.T, change ...func(*server.Options)) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "commyfs") // the names of t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	h := &host{options: server.Options{StateDir: filepath.Join(dir, "state"), RuntimeDir: filepath.Join(dir, "run")}}
	for _, f := range change {
		f(&h.options)
	}
	h.start(t)
	t.Cleanup(func() {
		h.stop(t)
		check(t, os.RemoveAll(dir))
	})
	return h
}

func (h *host) start(t *testing.T) {
	t.Helper()
	srv, err := server.Start(context.Background(), h.options)
	if err != nil {
		t.Fatal(err)
	}
	h.srv = srv
}

func (h *host) stop(t *testing.T) {
	t.Helper()
	if h.srv != nil {
		check(t, h.srv.Close())
		h.srv = nil
	}
}

func (h *host) restart(t *testing.T) {
	t.Helper()
	h.stop(t)
	h.start(t)
}

func (h *host) connect(t *testing.T, change ...func(*commyfs.Options)) *commyfs.Client {
	t.Helper()
	o := commyfs.Options{URLs: []string{"unix://" + h.options.RuntimeDir + "/server.sock"}}
	for _, f := range change {
		f(&o)
	}
	c, err := commyfs.Connect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, s *commyfs.Service, name, value string) uint64 {
	t.Helper()
	version, err := s.Put(t.Context(), name, []byte(value))
	check(t, err)
	return version
}

func wantValue(t *testing.T, e commyfs.Entry, err error, value string, version uint64) {
	t.Helper()
	if err != nil || string(e.Value) != value || e.Version != version || e.Size != int64(len(value)) {
		t.Errorf("%q of version %d, %v, want %q of %d", e.Value, e.Version, err, value, version)
	}
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func TestChanges(t *testing.T) {
	h := newHost(t)
	c := h.connect(t)
	ctx, s := t.Context(), c.Service("t", "s")
	version, err := s.Create(ctx, "v", []byte("1"))
	if err != nil || version != 1 {
		t.Fatalf("create: %d, %v", version, err)
	}
	_, err = s.Create(ctx, "v", []byte("2"))
	wantError(t, err, commyfs.ErrExists)
	wantError(t, err, iofs.ErrExist)
	if version, err = s.Update(ctx, "v", []byte("2"), 1); err != nil || version != 2 {
		t.Errorf("update: %d, %v", version, err)
	}
	_, err = s.Update(ctx, "v", []byte("3"), 1)
	wantError(t, err, commyfs.ErrConflict)
	if version, err = s.Append(ctx, "v", []byte("+")); err != nil || version != 3 {
		t.Errorf("append: %d, %v", version, err)
	}
	e, err := s.Get(ctx, "v")
	wantValue(t, e, err, "2+", 3)
	if e.Path().String() != "t/s/v" || e.Writer == "" || e.Time.IsZero() || e.ID == 0 {
		t.Errorf("entry %+v", e)
	}
	wantError(t, s.DeleteVersion(ctx, "v", 2), commyfs.ErrConflict)
	_, err = c.Txn(ctx, s.OpPut("w", nil), s.OpDeleteVersion("v", 2))
	wantError(t, err, commyfs.ErrConflict)
	var refused *commyfs.TxnError
	if !errors.As(err, &refused) || refused.Index != 1 {
		t.Errorf("the refused change is not the second one: %v", err)
	}
	_, err = s.Get(ctx, "w")
	wantError(t, err, commyfs.ErrNotFound)
	check(t, s.Rename(ctx, "v", c.Service("t", "s2"), "d/v"))
	wantError(t, c.Service("t", "s2").Rmdir(ctx, "d"), commyfs.ErrNotEmpty)
	_, err = c.Service("t", "s2").Get(ctx, "d")
	wantError(t, err, commyfs.ErrIsDirectory)
	moved, err := c.Service("t", "s2").Get(ctx, "d/v")
	wantValue(t, moved, err, "2+", 4)
	check(t, c.Service("t", "s2").DeleteVersion(ctx, "d/v", 4))
	check(t, c.Service("t", "s2").Rmdir(ctx, "d"))
	check(t, s.Mkdir(ctx, "a/b"))
	if info, err := s.Stat(ctx, "a/b"); err != nil || !info.Dir || info.Path().String() != "t/s/a/b" {
		t.Errorf("stat: %+v, %v", info, err)
	}
	_, err = s.Put(ctx, "large", make([]byte, c.Limits().Value+1))
	wantError(t, err, commyfs.ErrTooLarge)
	wantError(t, s.Delete(ctx, "v"), iofs.ErrNotExist)
}

// A service that is followed is read from the copy: the same, without allocating, and also without a server.
func TestReads(t *testing.T) {
	both(t, func(t *testing.T, h *host, c *commyfs.Client) {
		ctx := t.Context()
		s := c.Service("t", "s")
		_, err := s.Load(ctx, "v", nil)
		wantError(t, err, commyfs.ErrNotFound)
		other := h.connect(t).Service("t", "s")
		put(t, other, "d/v", "one")
		e, err := s.Get(ctx, "d/v")
		wantValue(t, e, err, "one", 1)
		e, err = s.Load(ctx, "d/v", nil)
		wantValue(t, e, err, "one", 1)
		put(t, s, "d/v", "two")
		e, err = s.Get(ctx, "d/v")
		wantValue(t, e, err, "two", 2)
		e.Value[0] = 'T' // it is ours
		e, err = s.Load(ctx, "d/v", make([]byte, 1))
		wantValue(t, e, err, "two", 2)
		e.Value[0] = 'T'
		check(t, s.View(ctx, "d/v", func(e commyfs.Entry) error {
			wantValue(t, e, nil, "two", 2)
			return nil
		}))
		wantError(t, s.View(ctx, "d/v", func(commyfs.Entry) error { return errors.ErrUnsupported }), errors.ErrUnsupported)
		_, err = s.Load(ctx, "d", nil)
		wantError(t, err, commyfs.ErrIsDirectory)
		put(t, s, "d/v", "")
		e, err = s.Get(ctx, "d/v")
		wantValue(t, e, err, "", 3)

		put(t, s, "d/v", "four")
		h.stop(t)
		e, err = s.Get(ctx, "d/v")
		wantValue(t, e, err, "four", 4)
		info, err := s.Stat(ctx, "d/v")
		if err != nil || info.Version != 4 || info.Size != 4 || info.Path() != e.Path() {
			t.Errorf("stat %+v, %v", info, err)
		}
		if info, err := s.Stat(ctx, "d"); err != nil || !info.Dir {
			t.Errorf("stat of a directory %+v, %v", info, err)
		}
		if infos := list(t, s); fmt.Sprint(infos) != "[d d/v]" {
			t.Errorf("the copy has %v", infos)
		}
	})
}

// Writers of long values, who send what differs from what they know, agree in the end.
func TestPut_Differences(t *testing.T) {
	both(t, func(t *testing.T, h *host, c *commyfs.Client) {
		value := bytes.Repeat([]byte("0123456789"), 1000)
		clients := []*commyfs.Client{c, h.connect(t), h.connect(t, func(o *commyfs.Options) { o.NoMap = true })}
		put(t, c.Service("t", "s"), "v", string(value))
		var wg sync.WaitGroup
		for i, c := range clients {
			s := c.Service("t", "s")
			_, err := s.Load(t.Context(), "v", nil)
			check(t, err)
			wg.Go(func() {
				own := bytes.Clone(value)
				for n := range 50 {
					own[1000*i] = byte('a' + n%20)
					if _, err := s.Put(t.Context(), "v", own); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		e, err := h.connect(t).Service("t", "s").Get(t.Context(), "v")
		check(t, err)
		changed := 0
		for i := range value {
			if value[i] != e.Value[i] {
				changed++
			}
		}
		if changed != 1 { // each put is a whole value of one writer
			t.Errorf("%d bytes are not as they were in the beginning", changed)
		}
		for _, c := range clients {
			last, err := c.Service("t", "s").Update(t.Context(), "v", value, e.Version)
			if err == nil {
				e.Version = last
			}
			check(t, err)
		}
	})
}

// What nobody uses is not followed any more, and is again with its next use; a watch uses it.
func TestIdle(t *testing.T) {
	both(t, func(t *testing.T, h *host, _ *commyfs.Client) {
		c := h.connect(t, func(o *commyfs.Options) { o.Idle = 20 * time.Millisecond })
		admin, s, watched := h.connect(t), c.Service("t", "s"), c.Service("t", "watched")
		put(t, s, "v", "1")
		put(t, watched, "v", "1")
		w := follow(t, watched.Watch(t.Context(), commyfs.WatchOptions{}))
		w.want("initial t/watched/v=1", "synced")
		_, err := s.Load(t.Context(), "v", nil)
		check(t, err)
		time.Sleep(200 * time.Millisecond)
		put(t, admin.Service("t", "s"), "v", "2")
		put(t, admin.Service("t", "watched"), "v", "2")
		w.want("modified t/watched/v=2")
		e, err := s.Load(t.Context(), "v", nil)
		wantValue(t, e, err, "2", 2)
	})
}

func TestLoad_DoesNotAllocate(t *testing.T) {
	h := newHost(t)
	for _, noMap := range []bool{false, true} {
		s := h.connect(t, func(o *commyfs.Options) { o.NoMap = noMap }).Service("t", "s")
		put(t, s, "d/v", "a value of some bytes")
		buf := make([]byte, 0, 64)
		for name, f := range map[string]func() error{
			"Load": func() error {
				_, err := s.Load(t.Context(), "d/v", buf)
				return err
			},
			"View": func() error { return s.View(t.Context(), "d/v", func(commyfs.Entry) error { return nil }) },
		} {
			// Not 0: the race detector has a sync.Pool drop some.
			if allocs := testing.AllocsPerRun(100, func() { check(t, f()) }); allocs > 0 && name == "Load" || allocs > 1 {
				t.Errorf("%v allocations in %s, NoMap %v", allocs, name, noMap)
			}
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for name, noMap := range map[string]bool{"shared": false, "own": true} {
		b.Run(name, func(b *testing.B) {
			o := options
			o.NoMap = noMap
			c, err := commyfs.Connect(b.Context(), o)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			s := c.Service("bench", "s")
			if _, err := s.Put(b.Context(), "d/v", make([]byte, 64)); err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 0, 64)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Load(b.Context(), "d/v", buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func list(t *testing.T, s *commyfs.Service) (names []string) {
	t.Helper()
	for info, err := range s.Walk(t.Context(), "") {
		check(t, err)
		names = append(names, info.Name)
	}
	return names
}

func TestList(t *testing.T) {
	h := newHost(t)
	c := h.connect(t)
	s := c.Service("t", "s")
	for _, name := range []string{"b", "a/x", "a/y/z", "a.txt"} {
		put(t, s, name, name)
	}
	put(t, c.Service("u", "s"), "v", "")
	lists := func() (out string) {
		for _, at := range []commyfs.Path{{}, {Tenant: "t"}, {Tenant: "t", Service: "s"}, {Tenant: "t", Service: "s", Name: "a"}} {
			for info, err := range c.List(t.Context(), at) {
				check(t, err)
				out += fmt.Sprint(info.Path(), info.Dir, info.Size, " ")
			}
			out += "; "
		}
		for info, err := range c.Walk(t.Context(), commyfs.Path{Tenant: "t", Service: "s"}) {
			check(t, err)
			out += info.Name + " "
		}
		return out
	}
	const want = "t true 0 u true 0 ; t/s true 0 ; t/s/a true 0 t/s/a.txt false 5 t/s/b false 1 ; t/s/a/x false 3 t/s/a/y true 0 ; " +
		"a a.txt a/x a/y a/y/z b "
	if got := lists(); got != want {
		t.Errorf("the server lists\n%s, want\n%s", got, want)
	}
	_, err := s.Load(t.Context(), "b", nil)
	check(t, err)
	if got := lists(); got != want {
		t.Errorf("the copy lists\n%s, want\n%s", got, want)
	}
	for name, want := range map[string]error{"b": commyfs.ErrNotDirectory, "none": commyfs.ErrNotFound} {
		for _, err := range s.List(t.Context(), name) {
			wantError(t, err, want)
		}
	}
	for _, err := range c.Walk(t.Context(), commyfs.Path{}) {
		check(t, err)
		break
	}
}

func TestUnreachable(t *testing.T) {
	h := newHost(t)
	c := h.connect(t, func(o *commyfs.Options) { o.Timeout = 2 * time.Second })
	s := c.Service("t", "s")
	put(t, s, "v", "1")
	h.stop(t)
	began := time.Now()
	_, err := s.Get(t.Context(), "v")
	wantError(t, err, commyfs.ErrUnreachable)
	_, err = s.Load(t.Context(), "v", nil)
	wantError(t, err, commyfs.ErrUnreachable)
	_, err = s.Put(t.Context(), "v", nil)
	wantError(t, err, commyfs.ErrUnreachable)
	for _, err := range s.Watch(t.Context(), commyfs.WatchOptions{}) {
		wantError(t, err, commyfs.ErrUnreachable)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("that took %v", took)
	}
	_, err = commyfs.Connect(t.Context(), commyfs.Options{StateDir: h.options.StateDir, RuntimeDir: h.options.RuntimeDir, NoStart: true})
	wantError(t, err, commyfs.ErrUnreachable)
}

// The zero options mean this user's own server, and start it.
func TestStartsServer(t *testing.T) {
	dir, err := os.MkdirTemp("", "commyfs")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) }) // the last Connect makes it anew
	check(t, os.Symlink(testBinary(t), filepath.Join(dir, "commyfs")))
	t.Setenv("PATH", dir)
	t.Setenv(role, "server")
	o := commyfs.Options{StateDir: filepath.Join(dir, "state"), RuntimeDir: filepath.Join(dir, "run")}
	c, err := commyfs.Connect(t.Context(), o)
	check(t, err)
	if !c.IsLocal() {
		t.Error("it is not on this host")
	}
	st, err := c.Status(t.Context())
	if err != nil || st.Server.Mode != server.ModeAuto || st.Server.Pid == os.Getpid() || len(st.Sessions) != 1 || st.Sessions[0].Program != filepath.Base(os.Args[0]) {
		t.Errorf("status %+v, %v", st, err)
	}
	put(t, c.Service("t", "s"), "v", "1")
	check(t, c.Close())
	testenv.Eventually(t, 20*time.Second, func() error {
		if _, err := os.Stat(filepath.Join(o.RuntimeDir, "server.sock")); err == nil {
			return errors.New("the server stays")
		}
		return nil
	})
	o.NoStart = true
	_, err = commyfs.Connect(t.Context(), o)
	wantError(t, err, commyfs.ErrUnreachable)
	check(t, os.RemoveAll(dir))
	o.NoStart = false
	t.Setenv("PATH", "/")
	_, err = commyfs.Connect(t.Context(), o)
	wantError(t, err, commyfs.ErrUnreachable)
}

func testBinary(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	check(t, err)
	return path
}

func TestConcurrentUse(t *testing.T) {
	both(t, func(t *testing.T, _ *host, c *commyfs.Client) {
		s := c.Service("t", "s")
		put(t, s, "v", "0")
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				buf := make([]byte, 0, 16)
				for n := range 50 {
					_, err := s.Put(t.Context(), fmt.Sprint("v", i), fmt.Append(nil, n))
					if err == nil {
						var e commyfs.Entry
						if e, err = s.Load(t.Context(), fmt.Sprint("v", i), buf); err == nil && string(e.Value) != fmt.Sprint(n) {
							err = fmt.Errorf("%q, want %d", e.Value, n)
						}
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
			wg.Go(func() {
				for ev, err := range s.Watch(t.Context(), commyfs.WatchOptions{}, fmt.Sprint("v", i)) {
					if err != nil {
						t.Error(err)
						return
					}
					if string(ev.Value) == "49" {
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// A key opens what it says; when it is revoked, watches end.
func TestKeys(t *testing.T) {
	cert, key, ca, err := transport.SelfSigned(t.TempDir(), []string{"127.0.0.1"})
	check(t, err)
	conf, err := transport.ServerTLS(cert, key)
	check(t, err)
	h := newHost(t, func(o *server.Options) { o.Listen, o.TLS = "127.0.0.1:0", conf })
	c, ctx := h.connect(t), t.Context()
	put(t, c.Service("t", "s"), "v", "1")
	put(t, c.Service("u", "s"), "v", "1")
	secret, err := c.CreateKey(ctx, "reader", commyfs.RightRead, "t")
	check(t, err)
	keys, err := c.Keys(ctx)
	if err != nil || len(keys) != 1 || keys[0].Name != "reader" || keys[0].Rights != commyfs.RightRead {
		t.Errorf("keys %+v, %v", keys, err)
	}

	far := commyfs.Options{URLs: []string{"wss://127.0.0.1:1", h.srv.URL()}, CAFile: ca}
	_, err = commyfs.Connect(ctx, far)
	wantError(t, err, commyfs.ErrUnauthorized)
	far.APIKeyFile = filepath.Join(t.TempDir(), "key")
	check(t, os.WriteFile(far.APIKeyFile, []byte(secret), 0o644))
	check(t, os.Chmod(far.APIKeyFile, 0o644))
	_, err = commyfs.Connect(ctx, far)
	wantError(t, err, commyfs.ErrInvalid)
	check(t, os.Chmod(far.APIKeyFile, 0o600))
	reader, err := commyfs.Connect(ctx, far)
	check(t, err)
	defer reader.Close()
	if reader.IsLocal() {
		t.Error("a network is this host")
	}
	e, err := reader.Service("t", "s").Get(ctx, "v")
	wantValue(t, e, err, "1", 1)
	_, err = reader.Service("t", "s").Put(ctx, "v", nil)
	wantError(t, err, commyfs.ErrDenied)
	wantError(t, err, iofs.ErrPermission)
	_, err = reader.Service("u", "s").Get(ctx, "v")
	wantError(t, err, commyfs.ErrNotFound) // what a key does not open is not there
	_, err = reader.CreateKey(ctx, "other", commyfs.RightAdmin)
	wantError(t, err, commyfs.ErrDenied)

	w := follow(t, reader.Watch(ctx, commyfs.WatchOptions{}))
	w.want("initial t/s/v=1", "synced")
	check(t, c.RevokeKey(ctx, "reader"))
	for {
		ev, err, ok := w.next()
		if !ok {
			t.Fatal("the watch ended without an error")
		}
		if err != nil {
			wantError(t, err, commyfs.ErrUnauthorized)
			break
		}
		t.Log(show(ev))
	}
	wantError(t, c.RevokeKey(ctx, "reader"), commyfs.ErrNotFound)
}

func TestNamesOnTheServersHost(t *testing.T) {
	h := newHost(t)
	writer, reader := h.connect(t).Service("t", "s"), h.connect(t).Service("t", "s")
	ctx := t.Context()
	put(t, writer, "v", "")
	_, err := reader.Load(ctx, "v", nil)
	check(t, err)
	listed := func() (names string) {
		for info, err := range reader.List(ctx, "") {
			check(t, err)
			names += fmt.Sprintf(" %s:%d", info.Name, info.Version)
		}
		return names
	}
	for i := range 100 {
		old, now := fmt.Sprint("a", i), fmt.Sprint("b", i)
		put(t, writer, old, "1")
		version := put(t, writer, old, "22")
		if got, want := listed(), fmt.Sprintf(" %s:%d v:1", old, version); got != want {
			t.Fatalf("listed%s, want%s", got, want)
		}
		check(t, writer.Rename(ctx, old, writer, now))
		if _, err := reader.Get(ctx, old); !errors.Is(err, commyfs.ErrNotFound) {
			t.Fatalf("the old name: %v", err)
		}
		check(t, writer.Delete(ctx, now))
		if _, err := reader.Stat(ctx, now); !errors.Is(err, commyfs.ErrNotFound) {
			t.Fatalf("what was deleted: %v", err)
		}
	}
}

func TestEmptyComponentInACopy(t *testing.T) {
	c := newHost(t).connect(t)
	s := c.Service("t", "s")
	version := put(t, s, "dir/", "1")
	e, err := s.Load(t.Context(), "dir/", nil)
	wantValue(t, e, err, "1", version)
}

// TestManyWritersAndLostServers: of changes that travel together each is made once, also if the server goes meanwhile, and one
// that is refused is refused alone.
func TestManyWritersAndLostServers(t *testing.T) {
	t.Run("not followed", func(t *testing.T) { manyWriters(t, func(*commyfs.Service) {}) })
	follow := func(s *commyfs.Service) {
		_, err := s.Put(t.Context(), "last", nil)
		check(t, err)
		_, err = s.Load(t.Context(), "last", nil)
		check(t, err)
	}
	t.Run("shared", func(t *testing.T) { manyWriters(t, follow) })
	t.Run("own", func(t *testing.T) { manyWriters(t, follow, func(o *commyfs.Options) { o.NoMap = true }) })
}

// TestManyWritersAndLostConnections is the same with a network that cuts one connection after the other, in the middle of
// whatever is under way.
func TestManyWritersAndLostConnections(t *testing.T) {
	manyWriters(t, func(*commyfs.Service) {}, func(o *commyfs.Options) { o.URLs = []string{cutting(t, o.URLs[0])} })
}

// cutting returns the URL of a server's stand-in, which cuts the first connections after a moment.
func cutting(t *testing.T, url string) string {
	dir, err := os.MkdirTemp("", "commyfs")
	check(t, err)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	check(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
		check(t, os.RemoveAll(dir))
	})
	const cut = 25
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("unix", strings.TrimPrefix(url, "unix://"))
			if err != nil {
				_ = c.Close()
				continue
			}
			end := func() {
				_ = c.Close()
				_ = s.Close()
			}
			later := func() { time.AfterFunc(time.Duration(10+rand.IntN(60))*time.Millisecond, end) }
			if 0 < n && n < cut {
				later()
			}
			wg.Go(func() {
				defer end()
				if n == 0 {
					// Connect does not try again: it is done when this much has been sent.
					if _, err := io.CopyN(s, c, 2000); err == nil {
						later()
					}
				}
				_, _ = io.Copy(s, c)
			})
			wg.Go(func() {
				defer end()
				_, _ = io.Copy(c, s)
			})
		}
	})
	return "unix://" + l.Addr().String()
}

func manyWriters(t *testing.T, begin func(*commyfs.Service), change ...func(*commyfs.Options)) {
	h := newHost(t)
	s := h.connect(t, change...).Service("t", "s")
	begin(s)
	const writers, each = 32, 40
	type fate struct{ done, unknown int }
	fates := make([]fate, writers)
	var wg sync.WaitGroup
	half := make(chan struct{}, writers)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if i == each/2 {
					half <- struct{}{}
				}
				ctx, cancel := context.WithCancel(t.Context())
				if i%10 == 9 {
					time.AfterFunc(time.Millisecond, cancel)
				}
				_, err := s.Append(ctx, fmt.Sprint("own", w), []byte{'x'})
				cancel()
				switch {
				case err == nil:
					fates[w].done++
				case errors.Is(err, commyfs.ErrUnreachable):
					fates[w].unknown++
				case !errors.Is(err, context.Canceled):
					t.Error(err)
				}
				if _, err := s.Append(t.Context(), "all", []byte{byte('a' + w)}); err != nil {
					t.Error(err)
				}
				if _, err := s.Put(t.Context(), "last", fmt.Append(nil, w, i)); err != nil {
					t.Error(err)
				}
				if err := s.Delete(t.Context(), "none"); !errors.Is(err, commyfs.ErrNotFound) {
					t.Errorf("delete: %v", err)
				}
			}
		})
	}
	for range writers {
		<-half
	}
	h.restart(t)
	wg.Wait()
	all, err := s.Get(t.Context(), "all")
	check(t, err)
	other := h.connect(t).Service("t", "s")
	for _, name := range []string{"all", "last"} {
		copied, err := s.Get(t.Context(), name)
		check(t, err)
		stored, err := other.Get(t.Context(), name)
		check(t, err)
		if copied.Version != stored.Version || !bytes.Equal(copied.Value, stored.Value) {
			t.Errorf("%s: %q is stored, this client has %q", name, stored.Value, copied.Value)
		}
	}
	for w := range writers {
		if n := bytes.Count(all.Value, []byte{byte('a' + w)}); n != each {
			t.Errorf("writer %d: %d of %d changes of the one for all", w, n, each)
		}
		own, err := s.Get(t.Context(), fmt.Sprint("own", w))
		check(t, err)
		if f, n := fates[w], len(own.Value); n < f.done || n > f.done+f.unknown {
			t.Errorf("writer %d: %d changes, %d were acknowledged and %d may have been made", w, n, f.done, f.unknown)
		}
	}
}
