package engine

import (
	"bytes"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// One variable written over and over does not fill the disk.
func TestHistoryIsCompactedByBytes(t *testing.T) {
	d := newDisk()
	dir := t.TempDir()
	e := open(t, Options{Dir: dir, Free: d.Free})
	data := bytes.Repeat([]byte{7}, 4<<20)
	for i := range compactBytes/len(data) - 1 {
		commit(t, e, PutVariable(1, Variable{Name: "v", Version: uint64(i), Data: data}))
	}
	first := e.maint.compacted.Load()
	// The count is kept over a restart.
	e.Close()
	e = open(t, Options{Dir: dir, Free: d.Free})
	if got := e.maint.compacted.Load(); got != first {
		t.Fatalf("compacted to %d, before it was due", got)
	}
	for i := range 2 {
		commit(t, e, PutVariable(1, Variable{Name: "v", Version: uint64(100 + i), Data: data}))
	}
	testenv.Eventually(t, time.Minute, func() error {
		if got := e.etcd.Server.KV().FirstRev(); got <= first {
			return fmt.Errorf("compacted to %d, want above %d", got, first)
		}
		if used := e.etcd.Server.Backend().SizeInUse(); used > 24<<20 {
			return fmt.Errorf("%d bytes in use for a value of %d", used, len(data))
		}
		return nil
	})
	if vs := load(t, e, 1).vars; len(vs) != 1 || vs[0].Version != 101 || !bytes.Equal(vs[0].Data, data) {
		t.Error("the value is not what was written last")
	}
}

func TestHistoryIsCompactedByRevisions(t *testing.T) {
	e := open(t, Options{})
	e.maint.compacted.Store(e.Rev() - compactRevisions) // as if there had been as many
	commit(t, e, PutFloor(1, 1))
	testenv.Eventually(t, time.Minute, func() error {
		if got := e.etcd.Server.KV().FirstRev(); got < 1 {
			return fmt.Errorf("compacted to %d", got)
		}
		return nil
	})
}

// A file that is mostly holes is rewritten, with what it holds.
func TestDefragment(t *testing.T) {
	d := newDisk()
	e := open(t, Options{Free: d.Free})
	data := bytes.Repeat([]byte{7}, 8<<20)
	const n = defragMinSize/(8<<20) + 2
	for i := range n {
		commit(t, e, PutVariable(1, Variable{Name: name(i), Data: data}))
	}
	for i := range n - 1 {
		commit(t, e, DeleteVariable(1, name(i)))
	}
	e.etcd.Server.Backend().ForceCommit()
	before := e.etcd.Server.Backend().Size()
	if before < defragMinSize {
		t.Fatalf("database has %d bytes: nothing is tested", before)
	}
	e.maint.press()
	testenv.Eventually(t, time.Minute, func() error {
		if size := e.etcd.Server.Backend().Size(); size > before/2 {
			return fmt.Errorf("%d bytes, before %d", size, before)
		}
		return nil
	})
	if vs := load(t, e, 1).vars; len(vs) != 1 || !bytes.Equal(vs[0].Data, data) {
		t.Error("the value is not what it was")
	}
	commit(t, e, PutFloor(1, 1))
}

// A store that was just opened has other things to do first.
func TestDefragmentWhenSettled(t *testing.T) {
	e := open(t, Options{Free: newDisk().Free})
	data := bytes.Repeat([]byte{7}, 8<<20)
	for i := range defragMinSize/len(data) + 2 {
		commit(t, e, PutVariable(1, Variable{Name: name(i), Data: data}))
	}
	for i := range defragMinSize/len(data) + 2 {
		commit(t, e, DeleteVariable(1, name(i)))
	}
	if err := e.compact(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		open time.Duration
		want bool
	}{{0, false}, {defragSettle / 2, false}, {2 * defragSettle, true}} {
		if got := e.defragDue(false, firstDefrag(time.Now().Add(-test.open))); got != test.want {
			t.Errorf("open for %v: due %v, want %v", test.open, got, test.want)
		}
	}
}

// What etcd leaves behind when it is killed goes, and what it was made from stays.
func TestLeftoversAreRemoved(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{Dir: dir})
	commit(t, e, PutFloor(1, 7))
	e.Close()
	left := []string{databasePath(dir) + ".tmp.1234", filepath.Join(walDir(dir), "0000000000000000-0000000000000000.wal.broken")}
	for _, file := range left {
		if err := os.WriteFile(file, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e = open(t, Options{Dir: dir})
	for _, file := range left {
		if _, err := os.Stat(file); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("%s: %v, want it gone", file, err)
		}
	}
	if got := load(t, e, 1).floor; got != 7 {
		t.Errorf("floor %d, want 7", got)
	}
}

// A long compaction keeps nobody waiting: neither Close nor the next Open, which goes on with it.
func TestCloseDuringCompaction(t *testing.T) {
	slowCompaction(t)
	dir := t.TempDir()
	e := open(t, Options{Dir: dir})
	const batches = 20
	ops := make([]Op, 1000)
	for range batches {
		for i := range ops {
			ops[i] = PutVariable(1, Variable{Name: name(i)})
		}
		commit(t, e, ops...)
	}
	const least = batches * 1000 / slowStep * compactionPause // a compaction pauses that long
	rev := e.Rev()
	e.maint.bytes.Store(compactBytes + 1)
	e.maint.wake()
	testenv.Eventually(t, time.Minute, func() error {
		if got := e.etcd.Server.KV().FirstRev(); got < rev {
			return fmt.Errorf("compacted to %d, want %d", got, rev)
		}
		return nil
	})
	if got := e.finishedCompaction(); got >= rev {
		t.Fatalf("compaction to %d is done: nothing is tested", got)
	}
	start := time.Now()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	closed := time.Since(start)
	e = open(t, Options{Dir: dir})
	opened := time.Since(start) - closed
	t.Logf("closed in %v, opened in %v; the compaction takes more than %v", closed, opened, least)
	if got := e.finishedCompaction(); got >= rev { // whatever the time on a busy machine: it was not waited for
		t.Fatalf("compaction to %d is done: somebody has waited for it, or nothing is tested", got)
	}
	testenv.Eventually(t, time.Minute, func() error {
		if got := e.finishedCompaction(); got < rev {
			return fmt.Errorf("done to %d, want %d", got, rev)
		}
		return nil
	})
	if got := len(load(t, e, 1).vars); got != len(ops) {
		t.Errorf("%d variables, want %d", got, len(ops))
	}
}

// Where there is no room for a second file, none is begun.
func TestNoDefragmentWithoutRoom(t *testing.T) {
	d := newDisk()
	e := open(t, Options{Free: d.Free})
	data := bytes.Repeat([]byte{7}, 8<<20)
	for range 4 {
		commit(t, e, PutVariable(1, Variable{Name: "v", Data: data}))
	}
	if err := e.compact(); err != nil {
		t.Fatal(err)
	}
	if !e.defragDue(true, time.Time{}) {
		t.Fatal("not due with room: nothing is tested")
	}
	d.free.Store(openFree)
	if e.defragDue(true, time.Time{}) {
		t.Error("due with too little room")
	}
}
