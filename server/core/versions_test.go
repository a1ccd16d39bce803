package core

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// TestVersions_NeverOfAnotherValue has random things happen to few names in two services, and notes what was under each name at
// each version: who has seen a version of a name, and finds that version there again, finds the same value.
func TestVersions_NeverOfAnotherValue(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testenv.Seed(t), 0))
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	services := []string{"s", "other"}
	for _, service := range services {
		p.do(model.Change{Op: model.OpMkdir, Tenant: "t", Service: service, Parents: true})
	}
	type seen struct {
		name    string
		version uint64
	}
	was := map[seen]string{}
	name := func() string {
		n := ""
		for rnd.IntN(3) == 0 {
			n += []string{"a", "b"}[rnd.IntN(2)] + "/"
		}
		return n + []string{"a", "b", "p", "q", "r"}[rnd.IntN(5)]
	}
	did := map[model.Op]int{}
	for round := range 4000 {
		if round%1000 == 999 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = d.start(t)
			p = connect(t, s)
		}
		c := model.Change{Tenant: "t", Service: services[rnd.IntN(2)], Name: name(), Create: true, Parents: true}
		switch rnd.IntN(8) {
		case 0, 1, 2:
			c.Op, c.Data = model.OpStore, fmt.Append(nil, round)
		case 3:
			c.Op = model.OpDelete
		case 4, 5:
			c.Op, c.ToName, c.ToService, c.Parents = model.OpRename, name(), c.Service, false
		case 6:
			c.Op, c.ToName, c.ToService = model.OpExchange, name(), c.Service
		case 7:
			c.Op = model.OpMkdir
		}
		if c.ToName != "" && rnd.IntN(3) == 0 {
			c.ToService = services[rnd.IntN(2)]
		}
		if o := p.send(c); o.Code == model.CodeOK {
			did[c.Op]++
		}
		for _, service := range services {
			svc := s.view.services[p.service("t", service)]
			if err := p.Load(svc.id); err != nil {
				t.Fatal(err)
			}
			for w := svc.content.Load().nodes.freeze().walk(0, "", 0, true); ; {
				it, path, ok := w.next()
				if !ok {
					break
				}
				if it.v == nil {
					continue
				}
				k := seen{service + "/" + path, w.version(it.v)}
				if old, ok := was[k]; ok && old != string(it.v.data()) {
					t.Fatalf("after change %d, %+v: version %d of %s is %q, and was %q", round, c, k.version, k.name, it.v.data(), old)
				}
				was[k] = string(it.v.data())
			}
		}
	}
	t.Logf("%d values; done by operation: %v", len(was), did)
	for _, op := range []model.Op{model.OpRename, model.OpExchange, model.OpDelete} {
		if did[op] < 20 {
			t.Errorf("operation %d was done %d times", op, did[op])
		}
	}
}

// A version that was seen of a name does not count for what has the name later, whatever way it came to it. Each pair of a name and
// a version is that of the value that was replaced.
func TestVersions_AfterRename(t *testing.T) {
	for name, moves := range map[string][]model.Change{
		"variable":           {at(model.OpDelete, "t", "s", "d/x"), renameTo(at(model.OpRename, "t", "s", "e/x"), "d/x")},
		"directory":          {renameTo(at(model.OpRename, "t", "s", "d"), "f"), renameTo(at(model.OpRename, "t", "s", "e"), "d")},
		"exchange":           {renameTo(at(model.OpExchange, "t", "s", "d/x"), "e/x")},
		"directory exchange": {renameTo(at(model.OpExchange, "t", "s", "d"), "e")},
	} {
		t.Run(name, func(t *testing.T) {
			p := connect(t, startCore(t))
			p.do(store("d/x", "d"), store("e/x", "e"), store("e/y", "y"))
			before := p.wantValue("d/x", "d").Version
			if v := p.wantValue("e/x", "e").Version; v != before {
				t.Fatalf("versions %d and %d", before, v)
			}
			p.do(moves...)
			now := p.wantValue("d/x", "e").Version
			if now <= before {
				t.Errorf("version %d, the other had %d", now, before)
			}
			c := store("d/x", "new")
			c.HasVersion, c.IfVersion = true, before
			p.refused(model.CodeConflict, c)
			c.IfVersion = now
			p.do(c)
		})
	}
}

// A rename of a registered variable, or of the directory that it is in, that gives it another version leaves in the memory what
// programs have stored since.
func TestVersions_RenameInBareService(t *testing.T) {
	for _, c := range [][4]string{{"n", "m", "n", "m"}, {"d/n", "e/n", "d", "e"}} {
		t.Run(c[2], func(t *testing.T) { testRenameInBareService(t, c[0], c[1], c[2], c[3]) })
	}
}

func testRenameInBareService(t *testing.T, a, b, nameA, nameB string) {
	p := connect(t, startCore(t))
	p.bareService(4096)
	p.do(registered("gone", number(model.TypeU64, 0)))
	for i := range 20 {
		c := store("gone", fmt.Sprint(i))
		c.Create = false
		p.do(c)
	}
	p.do(at(model.OpDelete, "t", "s", "gone"), registered(a, number(model.TypeU64, 8)))
	m := mapBare(t, p.bareFile())
	for i := uint64(1); i <= 20; i++ {
		from, to, name, toName := a, b, nameA, nameB
		if i%2 == 0 {
			from, to, name, toName = b, a, nameB, nameA
		}
		c := store(from, fmt.Sprint(1000+i))
		c.Create = false
		p.do(c)
		atomic.StoreUint64(word(m, 8), i)
		p.do(renameTo(at(model.OpRename, "t", "s", name), toName))
		testenv.Eventually(t, bound, func() error {
			v, err := p.get("t", "s", to)
			if want := fmt.Sprintln(i); err == nil && string(v.Data) != want {
				err = fmt.Errorf("%s holds %q, want %q; the memory has %d", to, v.Data, want, atomic.LoadUint64(word(m, 8)))
			}
			return err
		})
	}
}

// Who names a variable by its id has seen its value also with the version that it had before its directory was renamed.
func TestVersions_SeenBefore(t *testing.T) {
	p := connect(t, startCore(t))
	p.do(store("gone", "1"), store("gone", "2"), store("gone", "3"), store("d/x", "x"), at(model.OpDelete, "t", "s", "gone"))
	v := p.wantValue("d/x", "x")
	p.do(renameTo(at(model.OpRename, "t", "s", "d"), "e"))
	now := p.wantValue("e/x", "x")
	if now.Version <= v.Version {
		t.Fatalf("version %d, and %d before", now.Version, v.Version)
	}
	put := func(name string, id, version uint64) model.Change {
		c := model.Change{Op: model.OpStore, ID: id, In: p.service("t", "s"), Data: []byte("new"), HasVersion: true, IfVersion: version}
		if name != "" {
			c.Tenant, c.Service, c.Name = "t", "s", name
		}
		return c
	}
	p.refused(model.CodeConflict, put("e/x", 0, v.Version), put("", v.ID, v.Version-1), put("", v.ID, now.Version+1))
	p.do(put("", v.ID, v.Version))
	p.refused(model.CodeConflict, put("", v.ID, v.Version))
	p.refused(model.CodeConflict, put("", v.ID, now.Version))
}
