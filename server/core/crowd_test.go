package core

import (
	"testing"

	"github.com/commy-project/commyfs/model"
)

// crowded is a report with Each of one change for each data.
func crowded(seq, acked uint64, changes ...model.Change) *model.Report {
	return &model.Report{Seq: seq, Acked: acked, Changes: changes, Each: true}
}

// TestCrowd: of reports that travel together each has its own answer, and its own number under which it is carried out once,
// whatever it is sent again with, also by the next server.
func TestCrowd(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	all := []model.Change{appendTo("a", "x"), {Op: model.OpDelete, Tenant: "t", Service: "s", Name: "none"}, appendTo("b", "x"), appendTo("a", "y")}
	first := ack(p, crowded(1, 0, all...))
	if first.Code != model.CodeOK || len(first.Results) != 4 || len(first.Refused) != 1 || first.Refused[0].Index != 1 || first.Refused[0].Code != model.CodeNotFound {
		t.Fatalf("outcome %+v", first)
	}
	if first.Results[0].Version >= first.Results[3].Version {
		t.Errorf("two reports of one variable made versions %d and %d", first.Results[0].Version, first.Results[3].Version)
	}
	again := func(p *peer) {
		t.Helper()
		if a := ack(p, crowded(1, 0, all[:3]...)); a.Results[0] != first.Results[0] || a.Results[2] != first.Results[2] || len(a.Refused) != 1 {
			t.Errorf("the first three again: %+v, want %+v", a, first)
		}
		if a := ack(p, &model.Report{Seq: 4, Changes: all[3:]}); a.Code != model.CodeOK || a.Results[0] != first.Results[3] {
			t.Errorf("the last again, alone: %+v, want %+v", a, first)
		}
		p.wantValue("a", "xy")
		p.wantValue("b", "x")
	}
	again(p)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	p = connect(t, s, as(p.id))
	again(p)
	// New ones and old ones together.
	if a := ack(p, crowded(3, 3, all[2], all[3], appendTo("b", "z"))); len(a.Refused) != 0 || a.Results[0] != first.Results[2] || a.Results[1] != first.Results[3] {
		t.Errorf("old ones and a new one: %+v", a)
	}
	p.wantValue("a", "xy")
	p.wantValue("b", "xz")
}

// TestCrowdIsBounded: too many are refused together, and none carried out.
func TestCrowdIsBounded(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	var all []model.Change
	for range maxChanges + 1 {
		all = append(all, appendTo("v", "x"))
	}
	if a := ack(p, crowded(1, 0, all...)); a.Code != model.CodeInvalid {
		t.Errorf("%d changes: %+v", len(all), a)
	}
	if a := ack(p, crowded(2, 0)); a.Code != model.CodeOK || len(a.Results)+len(a.Refused) != 0 {
		t.Errorf("no changes: %+v", a)
	}
	if a := ack(p, crowded(3, 0, all[1:]...)); a.Code != model.CodeOK || len(a.Results) != maxChanges || len(a.Refused) != 0 {
		t.Errorf("%d changes: %+v", maxChanges, a)
	}
	p.wantSize("v", maxChanges)
}

// TestCrowdOverBatches: what does not fit into a batch is carried out in the next, and the answer comes when all are.
func TestCrowdOverBatches(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	value := make([]byte, 1<<20)
	var all []model.Change
	const n = maxBatchBytes>>20 + 3
	for i := range n {
		value[0] = byte(i + 1)
		c := store("v"+string(rune('a'+i)), string(value))
		all = append(all, c)
	}
	a := ack(p, crowded(1, 0, all...))
	if a.Code != model.CodeOK || len(a.Refused) != 0 {
		t.Fatalf("outcome %+v", a)
	}
	for i, c := range all {
		if v, err := p.get("t", "s", c.Name); err != nil || v.Version != a.Results[i].Version || v.MTime != a.Results[i].MTime {
			t.Errorf("%s: %v, version %d, want %+v", c.Name, err, v.Version, a.Results[i])
		}
	}
}

// TestCrowdIsCharged: what reports that travel together have taken the committer counts, whatever becomes of the last.
func TestCrowdIsCharged(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	last := appendTo("v", "x")
	if a := ack(p, &model.Report{Seq: 2, Changes: []model.Change{last}}); a.Code != model.CodeOK {
		t.Fatalf("outcome %+v", a)
	}
	q := s.queue
	q.mu.Lock()
	p.line.last = 0
	q.mu.Unlock()
	if a := ack(p, crowded(1, 0, appendTo("v", "y"), last)); a.Code != model.CodeOK || len(a.Refused) != 0 {
		t.Fatalf("outcome %+v", a)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if p.line.last == 0 {
		t.Error("they have taken nothing")
	}
}
