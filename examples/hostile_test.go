package examples_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
)

// TestHostile has everything read from files with wrong bytes in them: errors, never a crash, never for long.
func TestHostile(t *testing.T) {
	dir := t.TempDir()
	w := create(t, filepath.Join(dir, "m"), small, memfile.Initial{ID: 1, Version: 1, Name: "a", Value: []byte("value")})
	put(t, w, w.Alloc(), 2, 2, "name", []byte(strings.Repeat("longer than sixty-four bytes ", 5)))
	good, err := os.ReadFile(w.Path())
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	var paths []string
	add := func(bad []byte) {
		path := filepath.Join(dir, fmt.Sprint("bad", len(paths)))
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	numbers = append(numbers, uint64(len(good)), uint64(len(good))-64)
	for at := range 160 / 8 {
		for _, n := range numbers {
			add(word(good, 8*at, n))
			add(word(good, 4096+8*at, n)) // the first entries
		}
	}
	for range 1500 {
		add(spoil(rnd, good))
	}
	const batch = 100
	for _, c := range []*program{checkASan, checkRust} {
		for access, env := range bothAccess {
			t.Run(c.name+" "+access, func(t *testing.T) {
				t.Parallel()
				var processes []*process
				for part := range slices.Chunk(paths, batch) {
					processes = append(processes, start(t, env, c.path(t), append([]string{"list"}, part...)...))
				}
				for i, p := range processes {
					if out, code := p.wait(t); code != 0 && code != 1 {
						t.Errorf("exit code %d, of files from %d: %.2000s", code, i*batch, out)
					}
				}
			})
		}
	}
}

// TestRefused: what the file says of itself has to be so.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	w := create(t, filepath.Join(dir, "m"), small)
	good, err := os.ReadFile(w.Path())
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	paths := []string{
		write("magic", word(good, 0, 0)), write("version", word(good, 8, 2|4096<<32)), write("header", word(good, 8, 1|64<<32)),
		write("size", word(good, 48, uint64(len(good))-64)), write("entries", word(good, 64, 128|16<<32)),
		write("directory", word(good, 56, 4097)), write("names", word(good, 72, 0)), write("values", word(good, 96, 1<<62)),
		write("empty", nil), write("short", good[:4096]), write("longer", append(slices.Clone(good), 0)), filepath.Join(dir, "none"), dir,
	}
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.Symlink("m", link), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, c := range checkers {
		for access, env := range bothAccess {
			t.Run(c.name+" "+access, func(t *testing.T) {
				for _, path := range append(paths, link, fifo) {
					if out, code := run(t, env, c.path(t), "list", path); code != 1 || strings.HasPrefix(out, "service") {
						t.Errorf("%s: exit code %d: %s", filepath.Base(path), code, out)
					}
				}
			})
		}
	}
}

// numbers are bad in most places.
var numbers = []uint64{
	0, 1, 2, 63, 64, 4095, 4096, 4097, 1 << 16, 1<<24 + 1, 1 << 31, 1<<32 - 1, 1 << 40, 1 << 62, 1 << 63, 1<<63 - 64,
	1<<64 - 64, 1<<64 - 1,
}

// word replaces a word.
func word(good []byte, at int, n uint64) []byte {
	bad := slices.Clone(good)
	binary.LittleEndian.PutUint64(bad[at:], n)
	return bad
}

// spoil overwrites some words, mostly in the header and the first entries.
func spoil(rnd *rand.Rand, good []byte) []byte {
	bad := slices.Clone(good)
	for range 1 + rnd.IntN(3) {
		at := []int{rnd.IntN(160), 4096 + rnd.IntN(64*3), 4096 + rnd.IntN(64*3), rnd.IntN(len(bad) - 8)}[rnd.IntN(4)]
		n := numbers[rnd.IntN(len(numbers))]
		if rnd.IntN(4) == 0 {
			n = rnd.Uint64()
		}
		if rnd.IntN(4) > 0 {
			at &^= 7
		}
		for i := range []int{1, 4, 8}[rnd.IntN(3)] {
			bad[at+i] = byte(n >> (8 * i))
		}
	}
	if rnd.IntN(20) == 0 {
		bad = bad[:rnd.IntN(len(bad))]
	}
	return bad
}
