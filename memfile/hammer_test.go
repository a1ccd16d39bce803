package memfile_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
)

const childEnv = "MEMFILE_TEST_WRITER" // the path to write to: this process is the writer of TestHammer

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := hammer(path); err != nil {
			fmt.Fprintln(os.Stderr, "writer:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

var crc = crc64.MakeTable(crc64.ECMA)

// sealed makes a value of n bytes (16 at least) that tells whether it is whole: id, noise, checksum.
func sealed(buf []byte, id, noise uint64, n int) []byte {
	buf = binary.LittleEndian.AppendUint64(buf[:0], id)
	for len(buf) < n-8 {
		noise = noise*6364136223846793005 + 1442695040888963407
		buf = binary.LittleEndian.AppendUint64(buf, noise)
	}
	return binary.LittleEndian.AppendUint64(buf, crc64.Checksum(buf, crc))
}

func whole(b []byte, id uint64) bool {
	n := len(b) - 8
	return n >= 8 && binary.LittleEndian.Uint64(b) == id && binary.LittleEndian.Uint64(b[n:]) == crc64.Checksum(b[:n], crc)
}

// In the hammered file the first slots keep their variable; in the others two take turns.
const hammerSlots, steadySlots = 12, 8

func hammerID(slot uint32, turn int) uint64 {
	if slot < steadySlots {
		return uint64(slot + 1)
	}
	return uint64(slot + 1 + 100*uint32(turn%2))
}

// hammer changes values as fast as it can, their sizes too, from file to file, until its standard input ends.
func hammer(path string) error {
	var vars []memfile.Initial
	for slot := range uint32(hammerSlots) {
		id := hammerID(slot, 0)
		vars = append(vars, memfile.Initial{Slot: slot, ID: id, Version: 1, Name: fmt.Sprint(id), Value: sealed(nil, id, 0, 16)})
	}
	w, err := memfile.Create(path, memfile.WriterOptions{MinValues: 512 << 10}, func(yield func(memfile.Initial) bool) {
		for _, v := range vars {
			if !yield(v) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	var stop atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop.Store(true)
	}()
	fmt.Println("ready")
	sizes := []int{16, 24, 64, 65, 200, 1000, 4096, 16, 5000, 16 << 10, 24, 64 << 10}
	var buf []byte
	rotations := 0
	for i := 1; !stop.Load(); i++ {
		slot, turn := uint32(i%hammerSlots), i/hammerSlots/50
		id := hammerID(slot, turn)
		if slot >= steadySlots && id != hammerID(slot, (i-hammerSlots)/hammerSlots/50) {
			if _, err := w.Delete(slot); err != nil {
				return err
			}
			if got := w.Alloc(); got != slot {
				return fmt.Errorf("got slot %d, not %d", got, slot)
			}
		}
		buf = sealed(buf, id, uint64(i), sizes[i*7%31%len(sizes)])
		rotated, err := w.Put(slot, id, uint64(i+1), 0, fmt.Sprint(id), buf)
		if err == nil && i%5000 == 0 {
			rotated, err = true, w.Rotate()
		}
		if err != nil {
			return err
		}
		if rotated {
			rotations++
		}
	}
	fmt.Println("rotations", rotations)
	return w.Close()
}

// writer is the process that changes the file.
type writer struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner
}

func startWriter(t *testing.T, path string) *writer {
	t.Helper()
	w := &writer{cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")}
	w.cmd.Env = append(os.Environ(), childEnv+"="+path)
	w.cmd.Stderr = os.Stderr
	stdin, err := w.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.stdin, w.lines = stdin, bufio.NewScanner(stdout)
	if !w.lines.Scan() {
		t.Fatal("the writer does not start")
	}
	return w
}

// stop returns how many files the writer has made.
func (w *writer) stop(t *testing.T) (rotations int) {
	t.Helper()
	if err := w.stdin.Close(); err != nil {
		t.Error(err)
	}
	if !w.lines.Scan() {
		t.Error("the writer did not end well")
	} else if _, err := fmt.Sscanf(w.lines.Text(), "rotations %d", &rotations); err != nil {
		t.Error(err)
	}
	if err := w.cmd.Wait(); err != nil {
		t.Error(err)
	}
	return rotations
}

// readers read one file, and open the next one when it is superseded.
type readers struct {
	path                           string
	cur                            atomic.Pointer[memfile.Reader]
	reads, missing, torn, versions atomic.Int64

	mu       sync.Mutex // guards the following, and lets one reader follow the file at a time
	reopened int
}

func (r *readers) reopen(old *memfile.Reader) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cur.Load() != old {
		return nil
	}
	next, err := memfile.Open(r.path)
	if err != nil {
		return err
	}
	r.cur.Store(next)
	r.reopened++
	return old.Close() // under the other readers
}

// run reads all slots in turn, until it is late and there was enough.
func (r *readers) run(t *testing.T, first int, deadline time.Time) {
	var last [hammerSlots]uint64
	var buf []byte
	for i := first; time.Now().Before(deadline) || r.reads.Load() < 20_000; i++ {
		slot := uint32(i % hammerSlots)
		id := hammerID(slot, i/hammerSlots)
		cur := r.cur.Load()
		m, data, err := cur.Read(slot, id, buf)
		switch {
		case err == nil:
			buf = data
			r.reads.Add(1)
			if !whole(data, id) || m.Size != len(data) {
				t.Errorf("torn: slot %d, version %d, %d bytes", slot, m.Version, len(data))
				return
			}
			if m.Version < last[slot] {
				t.Errorf("slot %d went from version %d back to %d", slot, last[slot], m.Version)
				return
			}
			if m.Version > last[slot] {
				r.versions.Add(1)
			}
			last[slot] = m.Version
		case errors.Is(err, memfile.ErrSuperseded), errors.Is(err, memfile.ErrClosed):
			if err := r.reopen(cur); err != nil {
				t.Error(err)
				return
			}
		case errors.Is(err, memfile.ErrNoEntry) && slot >= steadySlots:
			r.missing.Add(1)
		case errors.Is(err, memfile.ErrTorn):
			r.torn.Add(1) // given up, not taken for a value
		default:
			t.Errorf("Read(%d, %d): %v", slot, id, err)
			return
		}
	}
}

// TestHammer reads what a writer in another process changes all the time: no value is ever torn, none is another
// variable's, and none is older than one read before.
func TestHammer(t *testing.T) {
	testenv.NoLeaks(t)
	r := readers{path: filepath.Join(t.TempDir(), "m")}
	w := startWriter(t, r.path)
	r.cur.Store(open(t, r.path))
	deadline := time.Now().Add(3 * time.Second)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() { r.run(t, g, deadline) })
	}
	wg.Wait()
	rotations := w.stop(t)
	if err := r.cur.Load().Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d reads of %d versions, %d of no entry, %d given up, %d files written, %d opened",
		r.reads.Load(), r.versions.Load(), r.missing.Load(), r.torn.Load(), rotations, r.reopened)
	if r.versions.Load() < 1000 || r.missing.Load() == 0 || rotations < 3 || r.reopened < 3 {
		t.Error("this was no hammering")
	}
	if r.torn.Load() > r.reads.Load()/100 {
		t.Error("too many reads were given up")
	}
}

// TestCloseUnderReaders unmaps while others read.
func TestCloseUnderReaders(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	create(t, path, small, memfile.Initial{ID: 1, Name: "a", Value: sealed(nil, 1, 1, 4000)})
	for range 200 {
		r, err := memfile.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		started, wg := make(chan struct{}, 4), sync.WaitGroup{}
		for range cap(started) {
			wg.Go(func() {
				var buf []byte
				for first := true; ; first = false {
					_, data, err := r.Read(0, 1, buf)
					if first {
						started <- struct{}{}
					}
					if errors.Is(err, memfile.ErrClosed) {
						return
					}
					if err != nil || !whole(data, 1) {
						t.Errorf("%d bytes, %v", len(data), err)
						return
					}
					buf = data
				}
			})
		}
		<-started
		wg.Go(func() { _ = r.Close() })
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	}
}
