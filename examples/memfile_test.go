package examples_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
)

// TestList holds docs/memfile.md to its word: programs written after it read what the Writer writes.
func TestList(t *testing.T) {
	w := create(t, filepath.Join(t.TempDir(), "m"), small,
		memfile.Initial{Slot: 1, ID: 1 << 62, Version: 3, MTime: -1, Name: "ä/b", Value: []byte("value")},
		memfile.Initial{Slot: 4, ID: 5, Version: 1, Name: "empty"})
	put(t, w, w.Alloc(), 0x101, 1, "a", []byte("gone"))
	if _, err := w.Delete(0); err != nil {
		t.Fatal(err)
	}
	put(t, w, w.Alloc(), 0x102, 2, "big", []byte(strings.Repeat("x", 100)))
	put(t, w, 4, 5, 3, "renamed", []byte("moved to a block of its own"))
	want := fmt.Sprintf("service 7 generation %d state 1 store 010203\n", w.Generation()) +
		"0 258 2 20 100 big " + strings.Repeat("x", 100) + "\n" +
		"1 4611686018427387904 3 -1 5 ä/b value\n" +
		"4 5 3 30 27 renamed moved to a block of its own\n"
	check := func(t *testing.T, env []string, name string, args ...string) {
		t.Helper()
		if out, code := run(t, env, name, append(args, w.Path())...); code != 0 || out != want {
			t.Errorf("exit code %d, printed\n%swant\n%s", code, out, want)
		}
	}
	for _, p := range append(checkers, checkASan) {
		for access, env := range bothAccess {
			t.Run(p.name+" "+access, func(t *testing.T) { check(t, env, p.path(t), "list") })
		}
	}
	t.Run("python", func(t *testing.T) {
		testenv.Need(t, "python3")
		check(t, nil, "python3", "python/commyfs.py")
	})
}

func TestLoad(t *testing.T) {
	f64 := binary.LittleEndian.AppendUint64(nil, math.Float64bits(21.5))
	w := create(t, filepath.Join(t.TempDir(), "m"), small, memfile.Initial{ID: 1, Version: 1, Name: "temp", Value: f64},
		memfile.Initial{Slot: 1, ID: 2, Version: 1, Name: "short", Value: f64[1:]},
		memfile.Initial{Slot: 2, ID: 3, Version: 1, Name: "long", Value: make([]byte, 9)})
	for _, p := range checkers {
		for access, env := range bothAccess {
			t.Run(p.name+" "+access, func(t *testing.T) {
				want := fmt.Sprintln(math.Float64bits(21.5), 21.5)
				if out, code := run(t, env, p.path(t), "load", w.Path(), "temp"); code != 0 || out != want {
					t.Errorf("exit code %d, printed %q, want %q", code, out, want)
				}
				for _, name := range []string{"short", "long", "none"} {
					if out, code := run(t, env, p.path(t), "load", w.Path(), name); code != 1 {
						t.Errorf("%s: exit code %d, printed %q", name, code, out)
					}
				}
			})
		}
	}
}

// TestNeverTorn reads a value whose bytes, size and file change all the time.
func TestNeverTorn(t *testing.T) {
	reads := 2_000_000
	if text := os.Getenv("COMMYFS_EXAMPLES_READS"); text != "" {
		var err error
		if reads, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	w := create(t, filepath.Join(t.TempDir(), "m"), memfile.WriterOptions{}, memfile.Initial{ID: 1, Version: 1, Name: "v", Value: sealed(nil, 1)})
	seen, rotated := 0, 0
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var buf []byte
		for n := uint64(2); ; n++ {
			select {
			case <-done:
				return
			default:
			}
			buf = sealed(buf, n)
			_, err := w.Put(0, 1, n, 0, "v", buf)
			if err == nil && n%5000 == 0 {
				err = w.Rotate()
			}
			if err == nil {
				err = w.Changed()
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for _, c := range checkers { // one after the other: with more programs than processors, few reads would meet a write
		mapped := start(t, nil, c.path(t), "hammer", w.Path(), "v", fmt.Sprint(reads*3/10))
		pread := start(t, withPread, c.path(t), "hammer", w.Path(), "v", fmt.Sprint(reads/30))
		for _, p := range []*process{mapped, pread} {
			out, code := p.wait(t)
			var whole, values, files, retries int
			n, _ := fmt.Sscanf(out, "whole %d values %d files %d retries %d", &whole, &values, &files, &retries)
			if t.Logf("%s: %s", c.name, out); code != 0 || n != 4 {
				t.Errorf("exit code %d", code)
			}
			seen, rotated = seen+values, rotated+files
		}
	}
	close(done)
	wg.Wait()
	// One reader can be so fast, or the machine so busy, that it sees little.
	if reads >= 1_000_000 && (seen < 1000 || rotated < 3) {
		t.Errorf("this was no hammering: %d values, %d files", seen, rotated)
	}
}

// TestWake: a change, and each end of a file, wakes who waits.
func TestWake(t *testing.T) {
	ends := map[string]struct {
		end  func(w *memfile.Writer) error
		want string
	}{
		"changed":  {(*memfile.Writer).Changed, "waits\nwait 1 state 1\n"},
		"rotated":  {(*memfile.Writer).Rotate, "waits\nwait 1 state 1\n"},
		"closed":   {(*memfile.Writer).Close, "waits\nwait 1 state 3\n"},
		"given up": {(*memfile.Writer).Abandon, "waits\nwait 1 state 2\n"},
		// Of this file nobody tells that there is another one, as if its writer was killed.
		"replaced": {func(w *memfile.Writer) error {
			if err := os.Rename(w.Path(), w.Path()+".old"); err != nil {
				return err
			}
			next, err := memfile.Create(w.Path(), small, nil)
			if err == nil {
				t.Cleanup(func() { _ = next.Close() })
			}
			return err
		}, "waits\nwait 1 state 1\n"},
	}
	for name, tt := range ends {
		for _, c := range checkers {
			for access, env := range bothAccess {
				t.Run(name+" "+c.name+" "+access, func(t *testing.T) {
					w := create(t, filepath.Join(t.TempDir(), "m"), small)
					p := start(t, env, c.path(t), "wait", w.Path())
					p.asleep(t)
					if err := tt.end(w); err != nil {
						t.Fatal(err)
					}
					if out, code := p.wait(t); code != 0 || out != tt.want {
						t.Errorf("exit code %d, printed %q, want %q", code, out, tt.want)
					}
				})
			}
		}
	}
}

// TestWakesAtOnce: it is the wake-up that ends the wait, not the look around that comes twice a second.
func TestWakesAtOnce(t *testing.T) {
	for _, c := range checkers {
		t.Run(c.name, func(t *testing.T) {
			w := create(t, filepath.Join(t.TempDir(), "m"), small)
			shortest := time.Hour // the machine may be busy
			for range 5 {
				p := start(t, nil, c.path(t), "wait", w.Path())
				p.asleep(t)
				began := time.Now()
				if err := w.Changed(); err != nil {
					t.Fatal(err)
				}
				if out, code := p.wait(t); code != 0 {
					t.Errorf("exit code %d: %s", code, out)
				}
				shortest = min(shortest, time.Since(began))
			}
			if shortest > 250*time.Millisecond {
				t.Errorf("the wait ended %v after the change", shortest)
			}
		})
	}
}

// TestWatch runs the examples themselves.
func TestWatch(t *testing.T) {
	for _, c := range []*program{watchC, watchRust} {
		t.Run(c.name, func(t *testing.T) {
			w := create(t, filepath.Join(t.TempDir(), "m"), small)
			p := start(t, nil, c.path(t), w.Path(), "temp")
			slot := w.Alloc()
			want := ""
			for i := range uint64(3) {
				p.asleep(t) // the first time there is no such variable
				put(t, w, slot, 1, i+1, "temp", fmt.Append(nil, 20+i))
				if err := errors.Join(w.SetNamed(1), w.Changed()); err != nil {
					t.Fatal(err)
				}
				want += fmt.Sprintln(20 + i)
				p.await(t, want)
			}
			p.cancel()
			if err := <-p.ended; err == nil {
				t.Error("it ended by itself")
			}
			if got := p.printed(); got != want {
				t.Errorf("printed %q, want %q", got, want)
			}
			if out, code := run(t, nil, c.path(t), w.Path()+"x", "temp"); code != 1 || !strings.HasPrefix(out, "watch: ") {
				t.Errorf("without a file: exit code %d: %s", code, out)
			}
			if out, code := run(t, nil, c.path(t)); code != 2 {
				t.Errorf("without arguments: exit code %d: %s", code, out)
			}
		})
	}
}

// TestFollowsSlots: in the file of another server a variable has another slot, and one that was deleted and made again another id.
func TestFollowsSlots(t *testing.T) {
	for _, c := range checkers {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "m")
			create(t, path, small, memfile.Initial{ID: 1, Version: 1, Name: "v", Value: sealed(nil, 1)})
			p := start(t, nil, c.path(t), "follow", path, "v", "5")
			p.asleep(t)
			step := func(w *memfile.Writer) *memfile.Writer {
				t.Helper()
				if err := w.Changed(); err != nil {
					t.Fatal(err)
				}
				p.asleep(t)
				return w
			}
			w := step(create(t, path, small, memfile.Initial{ID: 8, Name: "other"},
				memfile.Initial{Slot: 3, ID: 1, Version: 2, Name: "renamed", Value: sealed(nil, 2)}))
			if _, err := w.Delete(3); err != nil {
				t.Fatal(err)
			}
			step(w)
			put(t, w, w.Alloc(), 9, 3, "v", sealed(nil, 3))
			if err := w.SetNamed(7); err != nil {
				t.Fatal(err)
			}
			step(w)
			w = step(create(t, path, small, memfile.Initial{ID: 9, Version: 4, Name: "v", Value: sealed(nil, 4)}))
			put(t, w, 0, 9, 5, "v", sealed(nil, 5))
			if err := w.Changed(); err != nil {
				t.Fatal(err)
			}
			if out, code := p.wait(t); code != 0 || !strings.HasPrefix(out, "saw 5 ") {
				t.Errorf("exit code %d: %s", code, out)
			}
		})
	}
}

// TestCutShort has another process cut the file under readers that do not map it.
func TestCutShort(t *testing.T) {
	for _, c := range append(checkers, checkASan) {
		t.Run(c.name, func(t *testing.T) {
			w := create(t, filepath.Join(t.TempDir(), "m"), small, memfile.Initial{ID: 1, Version: 1, Name: "v", Value: sealed(nil, 1)})
			reads := start(t, withPread, c.path(t), "hammer", w.Path(), "v", "1000000000")
			waits := start(t, withPread, c.path(t), "wait", w.Path())
			waits.asleep(t)
			if err := os.Truncate(w.Path(), 100); err != nil {
				t.Fatal(err)
			}
			for _, p := range []*process{reads, waits} {
				if out, code := p.wait(t); code != 1 {
					t.Errorf("exit code %d: %s", code, out)
				}
			}
		})
	}
}
