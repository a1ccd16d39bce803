package core

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
)

// TestRenameTooDeep: what is below a directory counts for the length of names, and what was there once does not.
func TestRenameTooDeep(t *testing.T) {
	s := startCore(t, func(o *setup) { o.Limits = model.Limits{Name: 100, Component: 60, Value: 1 << 20} })
	p := connect(t, s)
	long := strings.Repeat("x", 40)
	p.do(store("d/e/"+long, "1"))
	p.do(at(model.OpMkdir, "t", "s", "o"))
	p.do(renameTo(at(model.OpRename, "t", "s", "d"), "o/"+long)) // 86 in all
	p.refused(model.CodeNameTooLong, renameTo(at(model.OpRename, "t", "s", "o"), long))
	p.do(at(model.OpMkdir, "t", "s", long))
	p.refused(model.CodeNameTooLong, renameTo(at(model.OpExchange, "t", "s", "o"), long))
	p.do(renameTo(at(model.OpRename, "t", "s", "o/"+long+"/e/"+long), "v"))
	p.do(at(model.OpRmdir, "t", "s", long))
	p.do(renameTo(at(model.OpRename, "t", "s", "o"), long))
	p.do(store(long+"/"+long+"/e/v", "1"))
	p.wantValue("v", "1")
}

// TestRenamedForAMoment: a directory that one transaction makes, renames and removes, or has go to another service, is no trouble.
func TestRenamedForAMoment(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	twoServices(p)
	inMemory(p, []string{"s", "r"})
	p.do(at(model.OpMkdir, "t", "s", "x"), renameTo(at(model.OpRename, "t", "s", "x"), "y"), at(model.OpRmdir, "t", "s", "y"))
	p.do(at(model.OpMkdir, "t", "s", "x"), renameTo(at(model.OpRename, "t", "s", "x"), "y"), withParents(store("y/v", "1")), moveTo("s", "y", "r", "z"))
	s.wantFile(t, p, "s", map[string]string{})
	s.wantFile(t, p, "r", map[string]string{"z/v": "1"})
}

// TestLargeRename: a directory of any size is renamed at once.
func TestLargeRename(t *testing.T) {
	n := entries()
	d := newDirs(t)
	s := d.start(t)
	other := connect(t, s)
	p := connect(t, s)
	p.do(at(model.OpMkdir, "t", "", ""), at(model.OpMkdir, "t", "s", ""), at(model.OpMkdir, "t", "s", "d"), at(model.OpMkdir, "t", "s", "o"))
	fill(t, p, "d", n)
	sid := p.service("t", "s")
	file := p.file(sid)
	p.mustWatch(&model.Watch{Service: sid})
	p.taken()
	was := ""
	for _, to := range []string{"e", "o/e"} {
		stop := beside(t, other)
		began := time.Now()
		p.do(renameTo(at(model.OpRename, "t", "s", cmp.Or(was, "d")), to))
		took := time.Since(began)
		was = to
		wantNames(t, p, file.Path, map[string]string{to + "/d7/v7": "7", to + "/d0/v0": "0", "d/d0/v0": ""})
		inFile := time.Since(began)
		list := stop()
		t.Logf("%d variables renamed in %v, in the memory file after %v; of %d changes beside it one took %v, half %v or less", n, took, inFile, len(list),
			list[len(list)-1], list[len(list)/2])
		if took > 5*time.Second {
			t.Error("too slow")
		}
	}
	events := 0
	for _, m := range p.taken() {
		if c, ok := m.(*model.Changes); ok {
			for _, e := range c.Changes {
				if e.Name != "beside" {
					events++
				}
			}
		}
	}
	if events != 2 {
		t.Errorf("%d events, want 2", events)
	}
	p.do(at(model.OpMkdir, "t", "s", "d"))
	p.do(store("d/d7/v7", "new"))
	check := func() {
		t.Helper()
		last := fmt.Sprintf("d%d/v%d", (n-1)%100, n-1)
		p.wantValue("o/e/"+last, fmt.Sprint(n-1))
		p.wantValue("d/d7/v7", "new")
		p.wantValue("o/e/d7/v7", "7")
		if got := len(p.list(&model.List{Tenant: "t", Service: "s", Recursive: true})); got != n+106 {
			t.Errorf("%d are listed, want %d", got, n+106)
		}
	}
	check()
	wantNames(t, p, file.Path, map[string]string{"d/d7/v7": "new", "o/e/d7/v7": "7", "o/e/d0/v0": "0", "d/d0/v0": ""})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	p = connect(t, s)
	check()
}
