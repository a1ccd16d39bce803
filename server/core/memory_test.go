package core

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// wantInFile compares the service memory file of t/s with what the server says.
func wantInFile(t *testing.T, p *peer, path string) {
	t.Helper()
	sid := p.service("t", "s")
	if file := p.file(sid); file.Path != path {
		t.Fatalf("the file is at %s, want %s", file.Path, path)
	}
	snap := p.mustWatch(&model.Watch{Service: sid, Values: true})
	testenv.Eventually(t, bound, func() error { // it may just be replaced
		r, err := memfile.Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		for _, v := range snap.Vars {
			m, data, err := r.Read(v.Slot, v.ID, nil)
			if err != nil || string(data) != string(v.Data) || m.Version != v.Version || m.MTime != v.MTime {
				return fmt.Errorf("%s in slot %d: %+v %.40q %w, want version %d, %.40q", v.Name, v.Slot, m, data, err, v.Version, v.Data)
			}
			if slot, id, _, err := r.Lookup(v.Name); err != nil || slot != v.Slot || id != v.ID {
				return fmt.Errorf("lookup %s: slot %d, id %d, %w, want %d, %d", v.Name, slot, id, err, v.Slot, v.ID)
			}
		}
		return nil
	})
}

// TestMemoryFileLost: without room for memory files the server goes on, says so, and makes them when there is room.
func TestMemoryFileLost(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(store("other", ""))
	p.do(store("v", "1"))
	sid := p.service("t", "s")
	p.file(sid)
	p.mustWatch(&model.Watch{Service: sid, Values: true})
	svc := s.view.lookup("t", "s")
	block := memoryPath(d.run, sid) + ".built" // in the way of a new file
	if err := os.MkdirAll(block+"/x", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.between(func() {
		_ = svc.content.Load().mem.Abandon() // as after an error
		moved := map[*service]struct{}{}
		s.wroteMemory(svc, svc.content.Load(), false, memfile.ErrCorrupt, moved)
		var touched touched
		s.pushMoved(moved, &touched)
		touched.wake()
	}); err != nil {
		t.Fatal(err)
	}
	p.await("notice", func(l []any) bool {
		for _, m := range l {
			if r, ok := m.(moved); ok && r.Path == "" {
				return true
			}
		}
		return false
	})
	_, err := p.tryFile(sid)
	p.wantCode(err, model.CodeUnavailable)
	p.do(store("v", "2"), store("w", "3"), at(model.OpDelete, "t", "s", "other"))
	if err := os.Rename(block, filepath.Join(d.run, "elsewhere")); err != nil { // in one step: the server takes the name at once
		t.Fatal(err)
	}
	p.await("new file", func(l []any) bool {
		r, ok := l[len(l)-1].(moved)
		return ok && r.Path != ""
	})
	p.do(store("x", "4"))
	wantInFile(t, p, memoryPath(d.run, sid))
}

// TestCloseTellsAllFirst: who has a file mapped is told that nothing comes any more before any file goes, so that with very many
// services too nobody takes an old state for one that lives.
func TestCloseTellsAllFirst(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	const services = 300
	readers := map[string]*memfile.Reader{}
	for i := range services {
		name := fmt.Sprint("s", i)
		p.do(model.Change{Op: model.OpStore, Tenant: "t", Service: name, Name: "v", Data: []byte("last"), Create: true, Parents: true})
		path := p.file(p.service("t", name)).Path
		r, err := memfile.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers[path] = r
	}
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	missing := func() bool {
		for path := range readers {
			if _, err := os.Stat(path); err != nil {
				return true
			}
		}
		return false
	}
	for !missing() {
	}
	for path, r := range readers {
		if state, err := r.State(); state != memfile.Closed || err != nil {
			t.Fatalf("%s is in state %d, %v, as another one is gone", filepath.Base(path), state, err)
		}
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(d.run, "*.mem*")); len(left) > 0 {
		t.Errorf("left behind: %d files", len(left))
	}
}

// TestMemoryFileChanges: a batch is one change to who waits at the file of a service, however many variables it is about, and
// none to who waits at another.
func TestMemoryFileChanges(t *testing.T) {
	p := connect(t, startCore(t))
	other := store("v", "1")
	other.Service = "other"
	p.do(store("v", "1"), other)
	open := func(service string) *memfile.Reader {
		r, err := memfile.Open(p.file(p.service("t", service)).Path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	changed, same := open("s"), open("other")
	since := func(r *memfile.Reader) uint32 {
		n, err := r.Changes()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	want := [2]uint32{since(changed), since(same)}
	for _, batch := range [][]model.Change{
		{store("v", "2"), store("w", "3"), store("x", "4")},
		{at(model.OpDelete, "t", "s", "w")},
		{store("y", "5"), at(model.OpDelete, "t", "s", "v")},
	} {
		p.do(batch...)
		want[0]++
		if got := [2]uint32{since(changed), since(same)}; got != want {
			t.Errorf("after %v the files have changed %d times, want %d", batch, got, want)
		}
	}
}
