package commyfs_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/server"
)

// TestS15_Increments: no increment is lost, whether the values are read from a copy or from the server.
func TestS15_Increments(t *testing.T) {
	h := newHost(t)
	put(t, h.connect(t).Service("t", "s"), "v", "0")
	var wg sync.WaitGroup
	const clients, each = 4, 50
	for n := range clients {
		c := h.connect(t, func(o *commyfs.Options) { o.NoMap = n%2 == 0 })
		s := c.Service("t", "s")
		wg.Go(func() {
			for range each {
				l, err := s.Lock(t.Context(), "v")
				if err != nil {
					t.Error(err)
					return
				}
				get := s.Get
				if n < 2 {
					get = func(ctx context.Context, name string) (commyfs.Entry, error) { return s.Load(ctx, name, nil) }
				}
				e, err := get(l.Context(), "v")
				if err != nil {
					t.Error(err)
					return
				}
				i, _ := strconv.Atoi(string(e.Value))
				if _, err := s.Put(l.Context(), "v", []byte(strconv.Itoa(i+1))); err != nil {
					t.Error(err)
				}
				if err := l.Unlock(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	e, err := h.connect(t).Service("t", "s").Get(t.Context(), "v")
	check(t, err)
	if string(e.Value) != strconv.Itoa(clients*each) {
		t.Errorf("%s, want %d", e.Value, clients*each)
	}
}

func TestS15_TryLock(t *testing.T) {
	h := newHost(t)
	a, b := h.connect(t).Service("t", "s"), h.connect(t).Service("t", "s")
	put(t, a, "v", "0")
	_, err := a.Lock(t.Context(), "nothing")
	wantError(t, err, commyfs.ErrNotFound)
	r, err := a.RLock(t.Context(), "v")
	check(t, err)
	r2, err := b.TryRLock(t.Context(), "v")
	check(t, err)
	_, err = b.TryLock(t.Context(), "v")
	wantError(t, err, commyfs.ErrLocked)
	_, err = a.TryLock(t.Context(), "v") // nor the same client
	wantError(t, err, commyfs.ErrLocked)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = b.Lock(ctx, "v")
	wantError(t, err, context.DeadlineExceeded)
	check(t, r.Unlock())
	check(t, r.Unlock())
	check(t, r2.Unlock())
	if err := r.Context().Err(); err == nil {
		t.Error("the context does not end")
	}
	l, err := b.TryLock(t.Context(), "v") // who gave up is not in the way
	check(t, err)
	check(t, l.Unlock())
}

// TestS15_RestartedServer: locks are kept, in order, and nothing that was written under them is lost.
func TestS15_RestartedServer(t *testing.T) {
	h := newHost(t)
	a, b := h.connect(t).Service("t", "s"), h.connect(t).Service("t", "s")
	put(t, a, "v", "0")
	l, err := a.Lock(t.Context(), "v")
	check(t, err)
	var second atomic.Bool
	got := make(chan error, 1)
	go func() {
		l, err := b.Lock(t.Context(), "v")
		second.Store(true)
		if err == nil {
			var e commyfs.Entry
			if e, err = b.Get(t.Context(), "v"); err == nil && string(e.Value) != "1" {
				err = errors.New("read " + string(e.Value))
			}
			err = errors.Join(err, l.Unlock())
		}
		got <- err
	}()
	for range 3 {
		h.restart(t)
	}
	_, err = b.TryLock(t.Context(), "v")
	wantError(t, err, commyfs.ErrLocked)
	if second.Load() || l.Context().Err() != nil {
		t.Errorf("the second has it: %v; lost: %v", second.Load(), context.Cause(l.Context()))
	}
	put(t, a, "v", "1")
	check(t, l.Unlock())
	check(t, <-got)
}

// cable is a Unix socket that leads to a server, and that can be cut: then nothing goes through, and nobody is told.
type cable struct {
	path string
	mu   sync.Mutex
	cut  bool
}

func newCable(t *testing.T, h *host) *cable {
	c := &cable{path: t.TempDir() + "/cable"}
	l, err := net.Listen("unix", c.path)
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", h.options.RuntimeDir+"/server.sock")
			if err != nil {
				_ = in.Close()
				continue
			}
			for _, p := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					buf := make([]byte, 64<<10)
					for {
						n, err := p[0].Read(buf)
						if c.isCut() {
							<-t.Context().Done() // and what it had is lost
						}
						if n > 0 {
							_, _ = p[1].Write(buf[:n])
						}
						if err != nil {
							_ = p[1].(interface{ CloseWrite() error }).CloseWrite()
							if err != io.EOF {
								_ = p[0].Close()
							}
							return
						}
					}
				}()
			}
		}
	}()
	return c
}

func (c *cable) isCut() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.cut }

func (c *cable) set(cut bool) { c.mu.Lock(); defer c.mu.Unlock(); c.cut = cut }

// TestS15_CutCable: who is not heard of loses its lock, knows it before the next one has it, and writes nothing under it any more.
func TestS15_CutCable(t *testing.T) {
	h := newHost(t, func(o *server.Options) { o.Lease = 2 * time.Second })
	cable := newCable(t, h)
	a := h.connect(t, func(o *commyfs.Options) { o.URLs = []string{"unix://" + cable.path}; o.Timeout = 10 * time.Second })
	b := h.connect(t).Service("t", "s")
	put(t, b, "v", "0")
	s := a.Service("t", "s")
	l, err := s.Lock(t.Context(), "v")
	check(t, err)
	got := make(chan time.Time, 1)
	go func() {
		l, err := b.Lock(t.Context(), "v")
		if err != nil {
			t.Error(err)
		} else if err := l.Unlock(); err != nil {
			t.Error(err)
		}
		got <- time.Now()
	}()
	time.Sleep(3 * time.Second) // longer than a lease: it is renewed
	select {
	case <-l.Context().Done():
		t.Fatalf("lost: %v", context.Cause(l.Context()))
	case <-got:
		t.Fatal("the second has it")
	default:
	}
	cable.set(true)
	cut := time.Now()
	late := make(chan error, 1)
	go func() { _, err := s.Put(context.Background(), "v", []byte("late")); late <- err }()
	<-l.Context().Done()
	lost := time.Now()
	second := <-got
	t.Logf("lost after %v, the next has it after %v", lost.Sub(cut), second.Sub(cut))
	if context.Cause(l.Context()) != commyfs.ErrLockLost || second.Before(lost) || second.Sub(cut) > 4*time.Second {
		t.Errorf("%v after %v, the next has it after %v", context.Cause(l.Context()), lost.Sub(cut), second.Sub(cut))
	}
	cable.set(false)
	wantError(t, l.Unlock(), commyfs.ErrLockLost)
	wantError(t, <-late, commyfs.ErrLockLost)
	e, err := b.Get(t.Context(), "v")
	wantValue(t, e, err, "0", e.Version)
	l, err = s.Lock(t.Context(), "v") // anew
	check(t, err)
	put(t, s, "v", "1")
	check(t, l.Unlock())
}
