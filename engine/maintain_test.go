package engine

import (
	"bytes"
	"fmt"
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
	e.maint.bytes.Store(-1 << 40) // no upkeep until it is asked for: there is one in ten minutes
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
	e.maint.compacted.Store(0)
	e.maint.bytes.Store(compactBytes + 1)
	e.maint.wake()
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
