package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// memoryPath is where the memory file of a service is.
func memoryPath(dir string, service uint64) string {
	return filepath.Join(dir, fmt.Sprintf("service_%d.mem", service))
}

// wantInFile compares the service memory file of t/s with what the server says.
func wantInFile(t *testing.T, p *peer, path string) {
	t.Helper()
	sid := p.service("t", "s")
	if file := must[*transport.ServiceFilePath](p, &transport.GetServiceFilePath{Service: sid}); file.Path != path {
		t.Fatalf("the file is at %s, want %s", file.Path, path)
	}
	snap := p.mustWatch(&transport.Watch{Service: sid, Values: true})
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

func TestMemoryFile(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	p.do(store("a", "1"), store("b", "2"), store("d/c", "3"))
	file := must[*transport.ServiceFilePath](p, &transport.GetServiceFilePath{Service: p.service("t", "s")})
	if file.Generation == 0 {
		t.Error("no generation")
	}
	check := func() {
		t.Helper()
		wantInFile(t, p, file.Path)
	}
	check()
	p.do(at(model.OpDelete, "t", "s", "b"), store("e", "new"), store("gone", "x"), at(model.OpDelete, "t", "s", "gone"))
	p.refused(model.CodeNotFound, store("f", "x"), at(model.OpDelete, "t", "s", "nothing"))
	check()
	p.do(renameTo(at(model.OpRename, "t", "s", "d"), "dd"), renameTo(at(model.OpRename, "t", "s", "a"), "aa"), store("g", "y"))
	check()
	// More than fits: the file is replaced, and watchers are told.
	p.mustWatch(&transport.Watch{Service: p.service("t", "s")})
	p.taken()
	for i := range 12 {
		p.do(store(fmt.Sprint("big", i), strings.Repeat("z", 1<<20)))
	}
	p.await("rotation", func(l []transport.Message) bool {
		for _, m := range l {
			if r, ok := m.(*transport.ServiceFileRotated); ok && r.Path == file.Path && r.Generation > file.Generation {
				return true
			}
		}
		return false
	})
	check()
	// Somebody removes it.
	if err := os.Remove(file.Path); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, bound, func() error { _, err := os.Stat(file.Path); return err })
	check()
	p.do(store("e", "after that"))
	check()

	// The next server makes its own, with the values of the store.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file.Path); err == nil {
		t.Error("the memory file is left behind")
	}
	s = d.start(t)
	p = connect(t, s)
	check()
	p.clear()
	if _, err := os.Stat(file.Path); err == nil {
		t.Error("the memory file of a removed service is left behind")
	}
}
