package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCountDirents(t *testing.T) {
	dir := t.TempDir()
	names := []string{".a", "..", "...", "..b", "x"}
	for i := range 1000 {
		names = append(names, fmt.Sprintf("file%d", i))
	}
	want := 0
	for _, name := range names {
		if name == ".." {
			continue
		}
		want++
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := openFile(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := countEntries(fd, make([]byte, 4096)); n != want || err != nil {
		t.Errorf("%d entries, %v, want %d", n, err, want)
	}
}
