package core

import (
	"errors"
	"fmt"
	"testing"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// inService is a change of something in another service of the tenant.
func inService(service string, c model.Change) model.Change {
	c.Service = service
	return c
}

// holdBuilds has memory files that are built beside the committer not be finished until the function that it returns is called.
func (s *testCore) holdBuilds(t *testing.T) (release func()) {
	t.Helper()
	for range maxBuilds {
		s.builds <- struct{}{}
	}
	return func() {
		for range maxBuilds {
			<-s.builds
		}
	}
}

// fileHas is what a service's memory file has under its names. All of it must be current, and be found where clients are told.
func (s *testCore) fileHas(t *testing.T, p *peer, service string) map[string]string {
	t.Helper()
	has := map[string]string{}
	r, err := memfile.Open(memoryPath(s.dir, p.service("t", service)))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	slots, err := r.Slots()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range p.list(&model.List{Tenant: "t", Service: service, Recursive: true}) {
		slot, ok := slots[e.ID]
		if !ok {
			continue
		}
		delete(slots, e.ID)
		name, nameErr := r.Name(slot, e.ID)
		meta, data, err := r.Read(slot, e.ID, nil)
		v, getErr := p.get("t", service, e.Name)
		if err := errors.Join(nameErr, err, getErr); err != nil || name != e.Name || string(data) != string(v.Data) || meta.Version != v.Version || v.Slot != slot {
			t.Fatalf("%s/%s in slot %d: %q %q %+v, %v, want %+v", service, e.Name, slot, name, data, meta, err, v)
		}
		has[name] = string(data)
	}
	for id := range slots {
		t.Errorf("%d is in the memory file of %s, and not in the service", id, service)
	}
	return has
}

// wantFile checks what a service's memory file has; nothing else is in it.
func (s *testCore) wantFile(t *testing.T, p *peer, service string, want map[string]string) {
	t.Helper()
	has := s.fileHas(t, p, service)
	for name, value := range want {
		if has[name] != value {
			t.Errorf("%s is %q in the memory file of %s, want %q", name, has[name], service, value)
		}
	}
	if len(has) != len(want) {
		t.Errorf("%q is in the memory file of %s, want %q", has, service, want)
	}
}

// TestMoveBesideMemory: what has come with very much is not in the memory file before that is built anew. Until then all that is in the
// old one is current, whoever writes and wherever, and nothing is left in that of the service which it has left. So it is if it goes
// back before that, or on to a third one.
func TestMoveBesideMemory(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	s.most = 2
	p := connect(t, s)
	twoServices(p)
	p.do(at(model.OpMkdir, "t", "u", ""))
	p.do(store("d/a", "1"), store("d/b", "2"), store("d/c", "3"), store("stays", "4"))
	p.do(inService("r", store("old", "5")), inService("r", store("gone", "6")))
	services := []string{"s", "r", "u"}
	inMemory(p, services)
	release := s.holdBuilds(t)

	p.do(moveTo("s", "d", "r", "d"))
	s.wantFile(t, p, "s", map[string]string{"stays": "4"})
	s.wantFile(t, p, "r", map[string]string{"old": "5", "gone": "6"})
	p.do(inService("r", store("d/a", "7")), inService("r", store("old", "8")), inService("r", store("new", "9")), inService("r", store("d/new", "10")))
	p.do(at(model.OpDelete, "t", "r", "gone"), at(model.OpDelete, "t", "r", "d/b"), store("stays", "11"), store("more", "12"))
	s.wantFile(t, p, "s", map[string]string{"stays": "11", "more": "12"})
	s.wantFile(t, p, "r", map[string]string{"old": "8"})

	p.do(moveTo("r", "d", "s", "back")) // while it is being built
	s.wantFile(t, p, "r", map[string]string{"old": "8"})
	s.wantFile(t, p, "s", map[string]string{"stays": "11", "more": "12"})
	p.do(store("back/c", "13"), moveTo("s", "back", "u", "e"), moveTo("s", "more", "u", "more"), inService("u", store("e/c", "14")))
	s.wantFile(t, p, "s", map[string]string{"stays": "11"})
	s.wantFile(t, p, "u", map[string]string{})
	p.refused(model.CodeNotFound, moveTo("u", "e", "s", "e"), at(model.OpDelete, "t", "s", "none")) // its slots are given back
	p.do(store("last", "15"))

	release()
	s.awaitBuilt(t)
	want := map[string]map[string]string{
		"s": {"stays": "11", "last": "15"}, "r": {"old": "8", "new": "9"},
		"u": {"e/a": "7", "e/c": "14", "e/new": "10", "more": "12"},
	}
	for _, name := range services {
		s.wantFile(t, p, name, want[name])
	}
	p.do(model.Change{Op: model.OpExchange, Tenant: "t", Service: "u", Name: "e", ToService: "r", ToName: "old"})
	s.awaitBuilt(t)
	for range 2 {
		for name, value := range map[string]string{"old/a": "7", "old/c": "14", "old/new": "10", "new": "9"} {
			if v, err := p.get("t", "r", name); err != nil || string(v.Data) != value {
				t.Errorf("%s is %q, %v, want %q", name, v.Data, err, value)
			}
		}
		s.wantFile(t, p, "u", map[string]string{"e": "8", "more": "12"})
		s.wantFile(t, p, "r", map[string]string{"old/a": "7", "old/c": "14", "old/new": "10", "new": "9"})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = d.start(t)
		p = connect(t, s)
		inMemory(p, services)
	}
}

// TestSlotsOfMoved: what goes back and forth takes no more slots each time, whether there are memory files or not.
func TestSlotsOfMoved(t *testing.T) {
	for _, mapped := range []bool{false, true} {
		t.Run(fmt.Sprintf("mapped %v", mapped), func(t *testing.T) {
			s := startCore(t)
			s.most = 2
			p := connect(t, s)
			twoServices(p)
			fill(t, p, "d", 500)
			p.do(store("stays", "1"), inService("r", store("old", "2")))
			if mapped {
				inMemory(p, []string{"s", "r"})
			}
			for range 20 {
				release := s.holdBuilds(t)
				p.do(moveTo("s", "d", "r", "d"), inService("r", store("old", "3")))
				p.do(moveTo("r", "d", "s", "d"), store("stays", "4"))
				release()
				p.do(moveTo("s", "d", "r", "d"))
				s.awaitBuilt(t)
				p.do(moveTo("r", "d", "s", "d"))
				s.awaitBuilt(t)
			}
			for _, name := range []string{"s", "r"} {
				if n := s.view.lookup("t", name).content.Load().high; n > 1100 {
					t.Errorf("%s: %d slots", name, n)
				}
			}
		})
	}
}
