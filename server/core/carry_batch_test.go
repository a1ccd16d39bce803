package core

import (
	"strings"
	"testing"

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
