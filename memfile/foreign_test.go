package memfile_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
)

// program returns the first of the programs that exists.
func program(t *testing.T, name string, candidates ...string) string {
	t.Helper()
	for _, c := range candidates {
		if p, err := exec.LookPath(c); err == nil {
			return p
		}
	}
	testenv.Missing(t, name, "none of %q in PATH", candidates)
	return ""
}

func buildC(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "reader")
	cmd := exec.CommandContext(t.Context(), program(t, "cc", "cc", "gcc", "clang"), "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", bin, "testdata/reader.c")
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// TestForeignReaders holds docs/memfile.md to its word: programs written after it read what the Writer writes.
func TestForeignReaders(t *testing.T) {
	readers := map[string]func(t *testing.T) []string{
		"C":      func(t *testing.T) []string { return []string{buildC(t)} },
		"Python": func(t *testing.T) []string { return []string{program(t, "python3", "python3"), "testdata/reader.py"} },
	}
	for name, command := range readers {
		t.Run(name, func(t *testing.T) {
			args := command(t)
			w := create(t, filepath.Join(t.TempDir(), "m"), small,
				memfile.Initial{Slot: 1, ID: 1 << 62, Version: 3, MTime: -1, Name: "ä/b", Value: []byte("value")},
				memfile.Initial{Slot: 4, ID: 5, Version: 1, Name: "empty"})
			put(t, w, w.Alloc(), 0x101, 1, "a", "gone")
			if _, err := w.Delete(0); err != nil {
				t.Fatal(err)
			}
			put(t, w, w.Alloc(), 0x102, 2, "big", strings.Repeat("x", 100))
			put(t, w, 4, 5, 3, "renamed", "moved to a block of its own")

			out, err := exec.CommandContext(t.Context(), args[0], append(args[1:], w.Path())...).CombinedOutput()
			want := fmt.Sprintf("service 7 generation %d state 1 store 010203\n", w.Generation()) +
				"0 258 2 20 100 big " + strings.Repeat("x", 100) + "\n" +
				"1 4611686018427387904 3 -1 5 ä/b value\n" +
				"4 5 3 30 27 renamed moved to a block of its own\n"
			if err != nil || string(out) != want {
				t.Errorf("%v, printed\n%swant\n%s", err, out, want)
			}
		})
	}
}

// TestForeignReaderHammered has the C reader read a value that changes, in bytes and size, all the time.
func TestForeignReaderHammered(t *testing.T) {
	bin := buildC(t)
	w := create(t, filepath.Join(t.TempDir(), "m"), memfile.WriterOptions{}, memfile.Initial{ID: 1, Version: 1, Name: "v", Value: []byte("v")})
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 2; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			if _, err := w.Put(0, 1, uint64(i), 0, "v", bytes.Repeat([]byte{byte(i)}, i*37%3000)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	out, err := exec.CommandContext(t.Context(), bin, w.Path(), "0", "1", "200000").CombinedOutput()
	close(done)
	wg.Wait()
	if err != nil || string(out) != "torn 0 several 1\n" {
		t.Errorf("%v: %s", err, out)
	}
}
