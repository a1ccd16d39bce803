package memfile_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
)

const waitBound = 20 * time.Second

func changes(t testing.TB, r *memfile.Reader) uint32 {
	t.Helper()
	n, err := r.Changes()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// waited is what a wait has returned.
type waited struct {
	now uint32
	err error
}

func wait(ctx context.Context, r *memfile.Reader, since uint32) chan waited {
	c := make(chan waited, 1)
	go func() {
		now, err := r.Wait(ctx, since)
		c <- waited{now, err}
	}()
	return c
}

func wantWaited(t *testing.T, c chan waited, want error) uint32 {
	t.Helper()
	select {
	case got := <-c:
		if !errors.Is(got.err, want) {
			t.Errorf("Wait: %v, want %v", got.err, want)
		}
		return got.now
	case <-time.After(waitBound):
		t.Fatal("nobody woke the wait")
		return 0
	}
}

// asleep waits until a thread of this process waits at a word that processes share.
func asleep(t *testing.T) {
	t.Helper()
	testenv.Eventually(t, waitBound, func() error {
		calls, _ := filepath.Glob("/proc/self/task/*/syscall")
		for _, path := range calls {
			var nr, addr, op uint64
			b, _ := os.ReadFile(path) // the thread may be gone
			if n, _ := fmt.Sscanf(string(b), "%d 0x%x 0x%x", &nr, &addr, &op); n == 3 && nr == unix.SYS_FUTEX && op == 0 {
				return nil
			}
		}
		return errors.New("nobody sleeps")
	})
}

// pingPong returns the times from a change to the end of a wait for it.
func pingPong(t *testing.T, w *memfile.Writer, r *memfile.Reader) (times []time.Duration) {
	t.Helper()
	asked, told := make(chan uint32), make(chan waited)
	go func() {
		for since := range asked {
			now, err := r.Wait(t.Context(), since)
			told <- waited{now, err}
		}
	}()
	defer close(asked)
	for i := range uint64(100) {
		since := changes(t, r)
		asked <- since
		asleep(t)
		put(t, w, 0, 1, i+2, "v", "value")
		began := time.Now()
		if err := w.Changed(); err != nil {
			t.Fatal(err)
		}
		got := <-told
		if got.err != nil || got.now != since+1 {
			t.Fatalf("Wait = %d, %v, want %d", got.now, got.err, since+1)
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times
}

// TestWait: a change wakes who waits for it, long before it would look around by itself, on a disk and on a tmpfs.
func TestWait(t *testing.T) {
	testenv.NoLeaks(t)
	shm, err := os.MkdirTemp("/dev/shm", "memfile-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(shm) })
	for name, dir := range map[string]string{"disk": t.TempDir(), "tmpfs": shm} {
		t.Run(name, func(t *testing.T) {
			w := create(t, filepath.Join(dir, "m"), small, memfile.Initial{ID: 1, Version: 1, Name: "v"})
			times := pingPong(t, w, open(t, w.Path()))
			t.Logf("median %v, longest %v", times[len(times)/2], times[len(times)-1])
			if median := times[len(times)/2]; median > 20*time.Millisecond {
				t.Errorf("half of the waits took %v and more", median)
			}
		})
	}
}

// TestWaitMissesNothing: who loads the number, reads and waits for another one has always seen the last value when it sleeps.
func TestWaitMissesNothing(t *testing.T) {
	testenv.NoLeaks(t)
	const last = 20_000
	w := create(t, filepath.Join(t.TempDir(), "m"), small, memfile.Initial{ID: 1, Version: 1, Name: "v"})
	r := open(t, w.Path())
	seen := make(chan error, 1)
	go func() {
		for since := uint32(0); ; {
			m, _, err := r.Read(0, 1, nil)
			if err != nil || m.Version == last {
				seen <- err
				return
			}
			ctx, cancel := context.WithTimeout(context.Background(), waitBound)
			since, err = r.Wait(ctx, since)
			cancel()
			if err != nil {
				seen <- err
				return
			}
		}
	}()
	for version := uint64(2); version <= last; version++ {
		put(t, w, 0, 1, version, "v", "value")
		if err := w.Changed(); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-seen; err != nil {
		t.Error(err)
	}
}

// TestWaitEnds tells of every way in which a wait ends without a change.
func TestWaitEnds(t *testing.T) {
	ends := map[string]struct {
		end  func(t *testing.T, w *memfile.Writer, r *memfile.Reader, cancel func())
		want error
	}{
		"rotated": {func(t *testing.T, w *memfile.Writer, _ *memfile.Reader, _ func()) {
			if err := w.Rotate(); err != nil {
				t.Fatal(err)
			}
		}, memfile.ErrSuperseded},
		"given up": {func(t *testing.T, w *memfile.Writer, _ *memfile.Reader, _ func()) {
			if err := w.Abandon(); err != nil {
				t.Fatal(err)
			}
		}, memfile.ErrSuperseded},
		"another writer": {func(t *testing.T, w *memfile.Writer, _ *memfile.Reader, _ func()) {
			create(t, w.Path(), small)
		}, memfile.ErrSuperseded},
		"cut short": {func(t *testing.T, w *memfile.Writer, _ *memfile.Reader, _ func()) {
			if err := os.Truncate(w.Path(), 0); err != nil {
				t.Fatal(err)
			}
		}, memfile.ErrCorrupt},
		"cancelled": {func(_ *testing.T, _ *memfile.Writer, _ *memfile.Reader, cancel func()) { cancel() }, context.Canceled},
		"reader closed": {func(t *testing.T, _ *memfile.Writer, r *memfile.Reader, _ func()) {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}, memfile.ErrClosed},
	}
	for name, tt := range ends {
		t.Run(name, func(t *testing.T) {
			testenv.NoLeaks(t)
			w := create(t, filepath.Join(t.TempDir(), "m"), small)
			r := open(t, w.Path())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := wait(ctx, r, changes(t, r))
			asleep(t)
			tt.end(t, w, r, cancel)
			wantWaited(t, c, tt.want)
		})
	}
	t.Run("deadline", func(t *testing.T) {
		r := open(t, create(t, filepath.Join(t.TempDir(), "m"), small).Path())
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		wantWaited(t, wait(ctx, r, changes(t, r)), context.DeadlineExceeded)
	})
	t.Run("writer closed", func(t *testing.T) {
		w := create(t, filepath.Join(t.TempDir(), "m"), small)
		r := open(t, w.Path())
		since := changes(t, r)
		c := wait(t.Context(), r, since)
		asleep(t)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		now := wantWaited(t, c, nil) // the values are the last: to be read once more
		if now == since {
			t.Error("it is no change")
		}
		wantWaited(t, wait(t.Context(), r, now), memfile.ErrSuperseded)
	})
}

// TestChangesLayout holds the word to its place.
func TestChangesLayout(t *testing.T) {
	w := create(t, filepath.Join(t.TempDir(), "m"), small)
	if err := errors.Join(w.Changed(), w.Changed()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(w.Path())
	if err != nil {
		t.Fatal(err)
	}
	if n := binary.LittleEndian.Uint32(b[144:]); n != 2 {
		t.Errorf("offset 144 has %d, want 2", n)
	}
}
