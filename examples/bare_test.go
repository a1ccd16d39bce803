package examples_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/bare"
	"github.com/commy-project/commyfs/internal/testenv"
)

// owner takes what is found.
type owner struct {
	t *testing.T
	f *bare.File

	mu     sync.Mutex // guards the following
	values map[uint64][]byte
}

func (o *owner) Found(list []bare.Found) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, v := range list {
		o.values[v.ID] = v.Data
		o.f.Took(v.ID, v.Version+1)
	}
}

func (o *owner) Stored()          {}
func (o *owner) Broken(err error) { o.t.Error(err) }

// await waits until a value was found.
func (o *owner) await(id uint64, want []byte) {
	o.t.Helper()
	testenv.Eventually(o.t, bound, func() error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if got := o.values[id]; !bytes.Equal(got, want) {
			return fmt.Errorf("variable %d is %.16x, want %.16x", id, got, want)
		}
		return nil
	})
}

// word and large are variables of the service: one that a processor stores at once, and one on three pages.
var (
	wordVar  = bare.Variable{ID: 1, Off: 64, Size: 8}
	largeVar = bare.Variable{ID: 2, Off: 4093, Size: 8192}
)

const memorySize = 64 << 10

func openBare(t *testing.T) (o *owner, path string) {
	t.Helper()
	d, err := bare.OpenDir(bare.Options{Path: filepath.Join(t.TempDir(), "bare"), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	o = &owner{t: t, values: map[uint64][]byte{}}
	if o.f, err = d.Open(7, memorySize, o); err != nil {
		t.Fatal(err)
	}
	for _, v := range []bare.Variable{wordVar, largeVar} {
		if err := o.f.Track(v, make([]byte, v.Size)); err != nil {
			t.Fatal(err)
		}
	}
	o.f.Start()
	path, _ = o.f.Paths()
	return o, path
}

func (o *owner) put(version, n uint64) {
	o.t.Helper()
	v := wordVar
	v.Version = version
	if err := o.f.Put(v, binary.LittleEndian.AppendUint64(nil, n)); err != nil {
		o.t.Fatal(err)
	}
	o.f.Applied(int64(version))
}

// TestBareStore: what programs store is found, and the bell heard.
func TestBareStore(t *testing.T) {
	for _, c := range append(checkers, checkASan) {
		t.Run(c.name, func(t *testing.T) {
			o, path := openBare(t)
			f, err := os.OpenFile(path, os.O_RDWR, 0) // the server listens as long as somebody has the file open
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			testenv.Eventually(t, bound, func() error {
				if !o.f.Stats().Writable {
					return errors.New("not listening")
				}
				return nil
			})
			for i, v := range []bare.Variable{wordVar, largeVar} {
				n := 200 + i
				if out, code := run(t, nil, c.path(t), "store", path, fmt.Sprint(v.Off), fmt.Sprint(v.Size), fmt.Sprint(n)); code != 0 {
					t.Fatalf("exit code %d: %s", code, out)
				}
				o.await(v.ID, bytes.Repeat([]byte{byte(n)}, int(v.Size)))
			}
			testenv.Eventually(t, bound, func() error {
				if o.f.Stats().Rung == 0 {
					return fmt.Errorf("nobody rang: %+v", o.f.Stats())
				}
				return nil
			})
		})
	}
}

// TestBareBell: the bell has the pages that were stored into, and how often.
func TestBareBell(t *testing.T) {
	for _, c := range checkers {
		t.Run(c.name, func(t *testing.T) {
			o, path := openBare(t)
			bell := strings.TrimSuffix(path, "mem") + "bell"
			o.f.Close()
			testenv.Eventually(t, bound, func() error { // nobody takes the bits any more
				b, err := os.ReadFile(bell)
				if err == nil && binary.LittleEndian.Uint32(b[140:]) != 3 {
					err = errors.New("it is not closed yet")
				}
				return err
			})
			if out, code := run(t, nil, c.path(t), "store", path, fmt.Sprint(largeVar.Off), fmt.Sprint(largeVar.Size), "3"); code != 0 {
				t.Fatalf("exit code %d: %s", code, out)
			}
			b, err := os.ReadFile(bell)
			if err != nil {
				t.Fatal(err)
			}
			if rung := binary.LittleEndian.Uint32(b[128:]); rung != 3 {
				t.Errorf("rung %d times, want 3", rung)
			}
			if bits := binary.LittleEndian.Uint64(b[4096:]); bits != 0b111 {
				t.Errorf("bits %b, want those of three pages", bits)
			}
		})
	}
}

// TestBareWait: who waits sees each change that the server makes, and the memory when it has grown.
func TestBareWait(t *testing.T) {
	for _, c := range checkers {
		t.Run(c.name, func(t *testing.T) {
			o, path := openBare(t)
			o.put(1, 10)
			p := start(t, nil, c.path(t), "bell", path, fmt.Sprint(wordVar.Off))
			want := "10\n"
			for version, n := range []uint64{11, 12, 0} {
				p.await(t, want)
				p.asleep(t)
				o.put(uint64(version+2), n)
				want += fmt.Sprintln(n)
			}
			if out, code := p.wait(t); code != 0 || out != want {
				t.Errorf("exit code %d, printed %q, want %q", code, out, want)
			}
		})
		t.Run(c.name+" grows", func(t *testing.T) {
			o, path := openBare(t)
			p := start(t, nil, c.path(t), "grow", path, fmt.Sprint(memorySize))
			p.asleep(t)
			if err := o.f.Resize(2 * memorySize); err != nil {
				t.Fatal(err)
			}
			if out, code := p.wait(t); code != 0 {
				t.Errorf("exit code %d: %s", code, out)
			}
			got := make([]byte, 8)
			if err := o.f.Load(got, memorySize); err != nil || string(got) != "grown up" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestBareRange: nothing is stored outside of the memory, whatever the bell says.
func TestBareRange(t *testing.T) {
	_, path := openBare(t)
	possible := func(t *testing.T, c *program, path string, off, size uint64, want ...int) {
		t.Helper()
		out, code := run(t, nil, c.path(t), "range", path, fmt.Sprint(off), fmt.Sprint(size))
		for _, w := range want {
			if code == w {
				return
			}
		}
		t.Errorf("%d bytes at %d: exit code %d: %s", size, off, code, out)
	}
	good, err := os.ReadFile(strings.TrimSuffix(path, "mem") + "bell")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	bad := filepath.Join(dir, "service_7.mem")
	for _, c := range []*program{checkC, checkRust} {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range [][2]uint64{{0, 8}, {memorySize - 3, 3}, {0, memorySize}, {memorySize, 0}, {7, 0}, {4095, 2}} {
				possible(t, c, path, r[0], r[1], 0)
			}
			for _, r := range [][2]uint64{{memorySize, 1}, {memorySize - 3, 4}, {0, memorySize + 1}, {1<<64 - 1, 1}, {1<<64 - 1, 2}, {1 << 63, 8}} {
				possible(t, c, path, r[0], r[1], 1)
			}
			for _, at := range []int{0, 8, 40, 48, 56, 128, 136} {
				for _, n := range append(numbers, uint64(len(good))-8, uint64(len(good))-4096) {
					if err := os.WriteFile(filepath.Join(dir, "service_7.bell"), word(good, at, n), 0o600); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(bad, make([]byte, memorySize), 0o600); err != nil {
						t.Fatal(err)
					}
					possible(t, c, bad, 8192, 8192, 0, 1)
					possible(t, c, bad, 1<<40, 8, 1)
				}
			}
		})
	}
}
