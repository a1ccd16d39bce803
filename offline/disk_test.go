package offline

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// TestDiskFull: an entry that the disk has no room for is refused whole, and what is there can be replayed all the same.
func TestDiskFull(t *testing.T) {
	testenv.Root(t)
	disk := t.TempDir()
	if err := unix.Mount("commyfs-test", disk, "tmpfs", 0, "mode=0700,size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(disk, 0)) })
	dir := filepath.Join(disk, "q")
	q := openQueue(t, dir, Limits{})
	n, warned := 0, false
	for {
		warned = warned || errors.Is(q.Room(5000), model.ErrNoSpace)
		err := q.Append(entry(1, Append, strings.Repeat("x", 5000)))
		if errors.Is(err, model.ErrNoSpace) {
			break
		}
		must(t, err)
		n++
	}
	if n < 100 || !warned {
		t.Errorf("full after %d entries, said before: %v", n, warned)
	}
	// The rest of the disk goes to somebody else.
	if err := writeFile(filepath.Join(disk, "other"), make([]byte, 1<<20)); !errors.Is(err, model.ErrNoSpace) {
		t.Errorf("a file that does not fit: %v", err)
	}
	want := state(t, q)
	must(t, q.Close())
	q = openQueue(t, dir, Limits{})
	if got := state(t, q); got != want {
		t.Errorf("%d bytes of state, want %d", len(got), len(want))
	}
	var over []uint64
	for _, e := range q.Next(0, -1) {
		over = append(over, e.N)
	}
	for i := 0; i < len(over); i += 10 {
		list := over[i:min(i+10, len(over))]
		must(t, q.Sending(Sending{Seq: uint64(i), N: list}))
		must(t, q.Done(list, []Progress{{1, 1, uint64(i)}}))
	}
	must(t, q.Append(entry(1, Replace, strings.Repeat("y", 300<<10))))
	must(t, q.Close())
	q = openQueue(t, dir, Limits{})
	if q.Len() != 1 {
		t.Errorf("%+v", q.Stats())
	}
	must(t, q.Close())
}
