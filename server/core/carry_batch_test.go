package core

import (
	"fmt"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// together has each change reported by itself and all of them be one transaction. The outcomes are in the order of the changes.
func together(t *testing.T, s *testCore, p *peer, changes ...model.Change) (list []*model.Outcome) {
	t.Helper()
	release := s.holdCommits(t)
	var calls []<-chan any
	for _, c := range changes {
		p.seq++
		calls = append(calls, p.begin(&model.Report{Seq: p.seq, Acked: p.seq - min(p.seq, 10), Changes: []model.Change{c}}))
	}
	s.awaitQueued(t, len(calls))
	release()
	for _, c := range calls {
		list = append(list, p.outcome(c))
	}
	return list
}

// doTogether is together for changes that must be accepted.
func doTogether(t *testing.T, s *testCore, p *peer, changes ...model.Change) {
	t.Helper()
	for i, o := range together(t, s, p, changes...) {
		if o.Code != model.CodeOK {
			t.Fatalf("change %d %+v refused: %d %s", i, changes[i], o.Code, o.Message)
		}
	}
}

// twoServices makes t/s, with a directory d, and t/r.
func twoServices(p *peer) {
	p.t.Helper()
	p.do(at(model.OpMkdir, "t", "", ""), at(model.OpMkdir, "t", "s", ""), at(model.OpMkdir, "t", "r", ""), at(model.OpMkdir, "t", "s", "d"))
}

// TestMovedIsTooDeep: what a directory has brought along counts for the length of names in the same transaction too.
func TestMovedIsTooDeep(t *testing.T) {
	s := startCore(t, func(o *setup) { o.Limits = model.Limits{Name: 100, Component: 60, Value: 1 << 20} })
	p := connect(t, s)
	twoServices(p)
	long := strings.Repeat("x", 50)
	p.do(store("d/"+long, "1"), at(model.OpMkdir, "t", "r", long))
	out := together(t, s, p, moveTo("s", "d", "r", "d"), renameTo(at(model.OpRename, "t", "r", "d"), long+"/d"))
	if out[0].Code != model.CodeOK || out[1].Code != model.CodeNameTooLong {
		t.Errorf("codes %d and %d, want %d and %d", out[0].Code, out[1].Code, model.CodeOK, model.CodeNameTooLong)
	}
	for _, e := range p.list(&model.List{Tenant: "t", Service: "r", Recursive: true}) {
		if len(e.Name) > 100 {
			t.Errorf("there is a name of %d bytes", len(e.Name))
		}
	}
}

// TestPiecesOfMoved: pieces of large values that one transaction changes, or removes, before it takes their directory to another
// service, are those of what is there afterwards.
func TestPiecesOfMoved(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	twoServices(p)
	large := strings.Repeat("0123456789", 20_000)
	for _, name := range []string{"cut", "gone", "out", "whole", "twice"} {
		p.do(store("d/"+name, large))
	}
	twice := store("d/twice", "2")
	twice.Service = "r"
	doTogether(t, s, p, store("d/cut", large[:80_000]), at(model.OpDelete, "t", "s", "d/gone"), moveTo("s", "d/out", "r", "out"),
		store("d/whole", "1"), moveTo("s", "d", "r", "d"), twice, moveTo("r", "d", "s", "e"), at(model.OpDelete, "t", "r", "out"))
	if got := pieceKeys(t, s.engine); got != 5 {
		t.Errorf("%d pieces are left, want 5", got)
	}
	for range 2 {
		p.wantValue("e/cut", large[:80_000])
		p.wantValue("e/whole", "1")
		p.wantValue("e/twice", "2")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = d.start(t)
		p = connect(t, s)
	}
}

// TestMovedOutOfSight: who names a variable by its id, and a service from which directories have gone to where it sees nothing, is told
// what it would be told without them, and finds what it may see.
func TestMovedOutOfSight(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	twoServices(p)
	p.do(at(model.OpMkdir, "u", "", ""), at(model.OpMkdir, "u", "s", ""), at(model.OpMkdir, "t", "s", "e"))
	hidden, seen := p.do(store("d/v", "1"))[0].ID, p.do(store("e/v", "2"))[0].ID
	gone := p.do(store("v", "3"))[0].ID
	in := p.service("t", "s")
	p.do(at(model.OpDelete, "t", "s", "v"))
	away := moveTo("s", "d", "s", "d")
	away.ToTenant = "u"
	p.do(away, moveTo("s", "e", "r", "e"))
	keys := map[string]string{}
	for name, tenant := range map[string]string{"here": "t", "elsewhere": "w"} {
		keys[name] = p.createKey(name, model.RightRead|model.RightWrite|model.RightCreate|model.RightDelete, tenant)
	}
	for name, key := range keys {
		for range 4 { // whichever service is looked into first
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = d.start(t)
			q := connect(t, s, s.by(key))
			ask := func(id uint64) *model.Outcome {
				// It is not loaded before, as if it had been let go at the last moment.
				release := s.holdCommits(t)
				q.seq++
				c := q.begin(&model.Report{Seq: q.seq, Acked: q.seq, Changes: []model.Change{{Op: model.OpAppend, ID: id, In: in, Data: []byte("+")}}})
				s.awaitQueued(t, 1)
				for _, svc := range s.view.services {
					if c := svc.content.Load(); c != nil {
						svc.used.Store(0)
						if s.unused = 1; !s.unload(svc, c) {
							t.Fatal("not let go")
						}
						s.unused = 1 << 60
					}
				}
				testenv.Eventually(t, bound, func() error {
					s.view.mu.RLock()
					defer s.view.mu.RUnlock()
					if n := s.view.byID.count; n > 0 {
						return fmt.Errorf("%d are found by their ids", n)
					}
					return nil
				})
				release()
				return q.outcome(c)
			}
			for id, want := range map[uint64]model.Code{
				hidden: model.CodeNotFound, gone: model.CodeNotFound,
				seen: map[string]model.Code{"here": model.CodeOK, "elsewhere": model.CodeNotFound}[name],
			} {
				if o := ask(id); o.Code != want {
					t.Errorf("%s: of %d: code %d (%s), want %d", name, id, o.Code, o.Message, want)
				}
			}
		}
	}
}

// withParents has a change make what is not there above it.
func withParents(c model.Change) model.Change {
	c.Parents = true
	return c
}

// TestMovedWhileRebuilt: what comes and goes while a memory file is made anew is in it, whatever slots were free before.
func TestMovedWhileRebuilt(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	twoServices(p)
	p.do(store("d/v", "1"), store("d/w", "2"), store("a", "3"), store("b", "4"), at(model.OpMkdir, "t", "r", "e"))
	p.do(withParents(moveTo("s", "b", "r", "e/b")))
	files := map[string]model.MemoryFile{}
	for _, name := range []string{"s", "r"} {
		files[name] = p.file(p.service("t", name))
	}
	p.do(at(model.OpDelete, "t", "s", "a"), at(model.OpDelete, "t", "r", "e/b")) // their slots are free
	for range maxBuilds {
		s.builds <- struct{}{} // builds begin, and do not go on
	}
	for _, name := range []string{"s", "r"} {
		svc := s.view.lookup("t", name)
		if err := s.between(func() { s.rebuildMemory(svc, svc.content.Load()) }); err != nil {
			t.Fatal(err)
		}
	}
	p.do(store("new", "5"), moveTo("s", "d", "r", "d"), store("a", "6"))
	doTogether(t, s, p, moveTo("r", "d", "s", "d"), moveTo("s", "d", "r", "e/d"), moveTo("s", "a", "r", "a"), renameTo(at(model.OpRename, "t", "r", "e/d"), "d"))
	p.refused(model.CodeNotFound, moveTo("r", "d", "s", "d"), at(model.OpDelete, "t", "s", "none")) // its slots are given back
	for range maxBuilds {
		<-s.builds
	}
	for _, name := range []string{"s", "r"} {
		svc := s.view.lookup("t", name)
		testenv.Eventually(t, bound, func() error {
			building := true
			if err := s.between(func() { building = svc.content.Load().building != nil }); err != nil || building {
				return fmt.Errorf("building %v, %v", building, err)
			}
			return nil
		})
		if now := p.file(svc.id); now.Generation == files[name].Generation {
			t.Errorf("%s has the same file", name)
		}
		if err := s.between(func() {
			if svc.content.Load().mem == nil {
				t.Errorf("%s has no memory file any more", name)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	wantNames(t, p, files["s"].Path, map[string]string{"new": "5", "d/v": "", "a": ""})
	wantNames(t, p, files["r"].Path, map[string]string{"d/v": "1", "d/w": "2", "a": "6", "e/b": "", "e/d/v": ""})
}
