package core

import (
	"testing"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/memfile"
)

// inMemory has services keep memory files.
func inMemory(p *peer, services []string) {
	p.t.Helper()
	for _, service := range services {
		p.file(p.service("t", service))
	}
}

// awaitBuilt waits until no memory file is being built. It returns how many were.
func (s *testCore) awaitBuilt(t *testing.T) (n int) {
	t.Helper()
	for {
		var b *build
		if err := s.between(func() {
			for _, svc := range s.view.services {
				if c := svc.content.Load(); c != nil && c.building != nil {
					b = c.building
				} else if c != nil && (c.landing || c.sparse) {
					t.Errorf("service %d: nobody builds its memory file anew", svc.id)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return n
		}
		<-b.done
		n++
	}
}

// mostSlots is more than a small tree ever needs.
const mostSlots = 1000

// checkStored compares the memory files with the tree, as far as there are any, and counts pieces in the store.
func (m *modelTree) checkStored(t *testing.T, s *testCore, p *peer, services []string) {
	t.Helper()
	pieces, want := 0, map[string]map[string]string{}
	for path, n := range m.nodes {
		service, name := m.split(path)
		if want[service] == nil {
			want[service] = map[string]string{}
		}
		if !n.dir {
			want[service][name] = n.value
			pieces += engine.Pieces(len(n.value))
		}
	}
	if got := pieceKeys(t, s.engine); got != pieces {
		t.Fatalf("%d pieces are in the store, want %d", got, pieces)
	}
	for _, service := range services {
		c := s.view.lookup("t", service).content.Load()
		if c == nil || c.file.Load() == nil {
			continue
		}
		r, err := memfile.Open(c.file.Load().Path)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range want[service] {
			slot, id, _, err := r.Lookup(name)
			if err != nil {
				t.Fatalf("%s/%s in the memory file: %v", service, name, err)
			}
			v, err := p.get("t", service, name)
			meta, data, readErr := r.Read(slot, id, nil)
			if err != nil || readErr != nil || string(data) != value || v.ID != id || v.Version != meta.Version || v.MTime != meta.MTime || v.Slot != slot {
				t.Fatalf("%s/%s in the memory file: slot %d, id %d, %+v %.40q, %v, want %+v, %v", service, name, slot, id, meta, data, readErr, v, err)
			}
		}
		if slots, err := r.Slots(); err != nil || len(slots) != len(want[service]) {
			t.Fatalf("%d variables are in the memory file of %s, %v, want %d", len(slots), service, err, len(want[service]))
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.between(func() {
			if c.high > mostSlots {
				t.Errorf("%d slots of %s were in use: they are not given back", c.high, service)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
}
