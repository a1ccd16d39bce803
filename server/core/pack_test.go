package core

import (
	"fmt"
	"testing"
	"time"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// TestPackedChanges: what has changed since a directory was packed goes to the other service as it is by then, also if what was packed
// was used before, by a report that was refused.
func TestPackedChanges(t *testing.T) {
	s := startCore(t)
	s.most = 2
	p := connect(t, s)
	twoServices(p)
	for _, name := range []string{"a", "b", "c", "d", "z", "e/x", "e/y", "g/x"} {
		p.do(withParents(store("d/"+name, name)))
	}
	inMemory(p, []string{"s", "r"})
	report := &model.Report{Changes: []model.Change{moveTo("s", "d", "r", "d")}}
	pack := packing{}
	for _, b := range p.bulk(report) {
		s.pack(pack, b)
	}
	if len(pack) != 3 {
		t.Fatalf("%d directories are packed, want 3", len(pack))
	}
	send := func(changes ...model.Change) *model.Outcome {
		p.seq++
		r := &model.Report{Seq: p.seq, Acked: p.seq - min(p.seq, 10), Changes: changes}
		c, err := p.ask(func(ticket Ticket) error {
			if !s.queue.push(item{Ticket: ticket, session: p.Session, report: r, size: sizeOf(r), packing: pack}) {
				return model.ErrUnavailable
			}
			p.HurryUp()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return p.outcome(c)
	}
	if o := send(report.Changes[0], at(model.OpDelete, "t", "s", "none")); o.Code != model.CodeNotFound {
		t.Fatalf("code %d", o.Code)
	}
	p.do(store("d/a", "new"), at(model.OpDelete, "t", "s", "d/b"), store("d/ab", "more"), renameTo(at(model.OpRename, "t", "s", "d/z"), "d/0"))
	p.do(renameTo(at(model.OpRename, "t", "s", "d/e"), "d/f"), renameTo(at(model.OpRename, "t", "s", "d/g"), "g"), renameTo(at(model.OpExchange, "t", "s", "d/f/x"), "d/f/y"))
	if o := send(report.Changes...); o.Code != model.CodeOK {
		t.Fatalf("code %d %s", o.Code, o.Message)
	}
	s.awaitBuilt(t)
	s.wantFile(t, p, "r", map[string]string{"d/a": "new", "d/ab": "more", "d/c": "c", "d/d": "d", "d/0": "z", "d/f/x": "e/y", "d/f/y": "e/x"})
	s.wantFile(t, p, "s", map[string]string{"g/x": "g/x"})
	used := 0
	for _, d := range pack {
		for _, v := range d.now {
			if v != nil && s.view.variable(v.id) == v {
				used++
			}
		}
	}
	if used != 2 {
		t.Errorf("%d variables are those that were packed, want d/c and d/d", used)
	}
	if o := send(moveTo("r", "d", "s", "d")); o.Code != model.CodeOK { // it is packed for nobody any more
		t.Fatalf("code %d %s", o.Code, o.Message)
	}
	s.awaitBuilt(t)
	s.wantFile(t, p, "s", map[string]string{"g/x": "g/x", "d/a": "new", "d/ab": "more", "d/c": "c", "d/d": "d", "d/0": "z", "d/f/x": "e/y", "d/f/y": "e/x"})
	r, err := memfile.Open(memoryPath(s.dir, p.service("t", "r")))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if slots, err := r.Slots(); err != nil || len(slots) != 0 {
		t.Errorf("%v are left in the memory file, %v", slots, err)
	}
}

// TestBulk: only what goes to another service with very much is packed, and for nobody who may not take it there.
func TestBulk(t *testing.T) {
	s := startCore(t)
	s.most = 2
	p := connect(t, s)
	twoServices(p)
	p.do(withParents(store("d/e/a", "1")), store("d/e/b", "2"), at(model.OpMkdir, "t", "r", "o"))
	others := []*peer{
		connect(t, s, s.by(p.createKey("reads", model.RightRead, "*"))),
		connect(t, s, s.by(p.createKey("writes", model.RightRead|model.RightWrite|model.RightCreate, "*"))),
		connect(t, s, s.by(p.createKey("deletes", model.RightRead|model.RightWrite|model.RightDelete, "*"))),
	}
	for _, tt := range []struct {
		c    model.Change
		want int
	}{
		{moveTo("s", "d", "r", "d"), 1},
		{moveTo("s", "d/e", "r", "d"), 0},
		{moveTo("s", "d/e/a", "r", "d"), 0},
		{moveTo("s", "none", "r", "d"), 0},
		{moveTo("none", "d", "r", "d"), 0},
		{renameTo(at(model.OpRename, "t", "s", "d"), "o"), 0},
		{model.Change{Op: model.OpExchange, Tenant: "t", Service: "s", Name: "d", ToService: "r", ToName: "o"}, 1},
		{model.Change{Op: model.OpExchange, Tenant: "t", Service: "r", Name: "o", ToService: "s", ToName: "d"}, 1},
	} {
		r := &model.Report{Changes: []model.Change{tt.c}}
		if got := p.bulk(r); len(got) != tt.want {
			t.Errorf("%+v: %d are packed, want %d", tt.c, len(got), tt.want)
		}
		for i, o := range others {
			if got := o.bulk(r); len(got) != 0 {
				t.Errorf("%+v: %d are packed for %d, who may not have it done", tt.c, len(got), i)
			}
		}
	}
}

// TestBulkIsBounded: who takes many directories in one report that are not large has the server look at no more than at one that is.
func TestBulkIsBounded(t *testing.T) {
	s := startCore(t)
	s.most = 10
	p := connect(t, s)
	twoServices(p)
	var r model.Report
	for i := range 7 {
		dir := fmt.Sprint("d", i)
		for _, name := range []string{"a", "b", "c"} {
			p.do(withParents(store(dir+"/"+name, "1")))
		}
		r.Changes = append(r.Changes, moveTo("s", dir, "r", dir))
	}
	id := func(name string) uint64 {
		b, _ := s.directoryAt(serviceKey{"t", "s"}, name)
		return b.id
	}
	if list := p.bulk(&r); len(list) != 1 || list[0].id != id("d3") {
		t.Errorf("%d are packed, want d3 alone, of which the last is looked at", len(list))
	}
}

// TestPackedCrowd: what travels with others is packed as well.
func TestPackedCrowd(t *testing.T) {
	s := startCore(t)
	s.most = 2
	p := connect(t, s)
	twoServices(p)
	var ids []uint64
	for _, name := range []string{"a", "b", "c"} {
		ids = append(ids, p.do(store("d/"+name, name))[0].ID)
	}
	var h *Held
	c, err := p.ask(func(ticket Ticket) (err error) {
		h, err = p.HandIn(ticket, crowded(p.seq+1, p.seq, store("v", "1"), moveTo("s", "d", "r", "d")))
		return err
	})
	if err != nil || h == nil {
		t.Fatalf("%v, held %v", err, h)
	}
	h.Load(func(_ uint64, load func()) { load() })
	if o := p.outcome(c); o.Code != model.CodeOK || len(o.Refused) > 0 {
		t.Fatalf("outcome %+v", o)
	}
	used := 0
	for _, d := range h.packing {
		for _, v := range d.now {
			if s.view.variable(v.id) == v {
				used++
			}
		}
	}
	if used != len(ids) {
		t.Errorf("%d variables are those that were packed, want %d", used, len(ids))
	}
}

// handInMoves hands in reports that take a large directory to another service, and are refused. It returns the first, which waits for
// the directory to be packed.
func (p *peer) handInMoves(n int) *Held {
	p.t.Helper()
	var first *Held
	for range n {
		p.seq++
		r := &model.Report{Seq: p.seq, Changes: []model.Change{moveTo("s", "d", "r", "d"), at(model.OpDelete, "t", "s", "none")}}
		if _, err := p.ask(func(ticket Ticket) error {
			h, err := p.HandIn(ticket, r)
			if first == nil {
				first = h
			}
			return err
		}); err != nil {
			p.t.Fatal(err)
		}
	}
	if first == nil {
		p.t.Fatal("nothing is packed")
	}
	return first
}

// bulkyPeer has a large directory, in t/s.
func bulkyPeer(t *testing.T) *peer {
	s := startCore(t)
	s.most = 2
	p := connect(t, s)
	twoServices(p)
	p.do(store("d/a", "1"), store("d/b", "1"), store("d/c", "1"))
	return p
}

// TestPacksForNobody: of reports that nobody carries out any more nothing is packed.
func TestPacksForNobody(t *testing.T) {
	p := bulkyPeer(t)
	h := p.handInMoves(5)
	for _, behind := range p.holds.list[1:] {
		if behind.pack != nil {
			t.Error("what waits behind another report keeps what is to be packed")
		}
	}
	p.core.queue.fence(&p.line)
	p.core.packs <- struct{}{} // it is another session's turn, for long
	defer func() { <-p.core.packs }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.Load(func(_ uint64, load func()) { load() })
	}()
	select {
	case <-done:
	case <-time.After(bound):
		t.Fatal("it waits to be packed")
	}
}

// TestPackedIsBounded: while the committer is held up, little is packed for it.
func TestPackedIsBounded(t *testing.T) {
	p := bulkyPeer(t)
	s := p.core
	held, goOn := make(chan struct{}), make(chan struct{})
	s.queue.call(func() { close(held); <-goOn })
	<-held
	const n = 3 * maxPacked
	p.handInMoves(n).Load(func(_ uint64, load func()) { load() })
	packed := 0
	for i := range p.line.items {
		if len(p.line.items[i].packing) > 0 {
			packed++
		}
	}
	if len(p.line.items) != n || packed != maxPacked {
		t.Errorf("%d of %d reports are packed, want %d of %d", packed, len(p.line.items), maxPacked, n)
	}
	close(goOn)
	p.refused(model.CodeNotFound, at(model.OpDelete, "t", "s", "none")) // behind all of them
	p.handInMoves(1).Load(func(_ uint64, load func()) { load() })
	if s.queue.mu.Lock(); s.queue.packed > 1 {
		t.Errorf("%d reports are said to be packed", s.queue.packed)
	}
	s.queue.mu.Unlock()
}
