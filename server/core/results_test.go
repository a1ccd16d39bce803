package core

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
)

// report is a report of one append, with the acked that the client claims.
func report(seq, acked uint64, name, data string) *model.Report {
	return &model.Report{Seq: seq, Acked: acked, Changes: []model.Change{appendTo(name, data)}}
}

func ack(p *peer, r *model.Report) *model.Outcome {
	p.t.Helper()
	return p.report(r)
}

// stored is what the store has of answers.
func (s *Core) stored(t *testing.T) (n, bytes int) {
	t.Helper()
	list, err := s.engine.LoadResults(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		bytes += len(r.Data)
	}
	return len(list), bytes
}

// TestAnswersAreStoredOneByOne: a client that takes its answers has one key, however much it does; one that never says so
// loses the oldest, is told when it asks for them, and nothing is carried out twice. The same after a restart.
func TestAnswersAreStoredOneByOne(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p := connect(t, s)
	for seq := range uint64(20) {
		ack(p, report(seq+1, seq+1, "v", "x"))
	}
	if n, _ := s.stored(t); n != 1 {
		t.Errorf("%d answers are stored of a client that has all but the last", n)
	}

	hoarder := connect(t, s)
	const many = maxResults + 10
	var calls []<-chan any
	for seq := uint64(1); seq <= many; seq++ {
		calls = append(calls, hoarder.begin(report(seq, 0, "w", "x")))
	}
	for _, c := range calls {
		hoarder.outcome(c)
	}
	size := len(hoarder.wantSize("w", many).Data)
	check := func(where string, p *peer) {
		t.Helper()
		if a := ack(p, report(1, 0, "w", "x")); a.Code != model.CodeForgotten {
			t.Errorf("%s: the oldest report again: %+v", where, a)
		}
		if a := ack(p, report(many, 0, "w", "x")); a.Code != model.CodeOK || len(a.Results) != 1 {
			t.Errorf("%s: the newest report again: %+v", where, a)
		}
		p.wantSize("w", size)
		if n, _ := s.stored(t); n > maxResults+maxFree {
			t.Errorf("%s: %d answers are stored", where, n)
		}
	}
	check("at once", hoarder)
	// What was lost with the last batch goes into the store now and then.
	if err := s.between(func() { s.forgetClients() }); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	hoarder = connect(t, s, as(hoarder.id))
	check("after a restart", hoarder)

	// What it has by now is not kept.
	ack(hoarder, report(many+1, many+1, "w", "y"))
	if err := s.between(func() { s.forgetClients() }); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.stored(t); n > maxFree+2 {
		t.Errorf("%d answers are stored of clients that have all but the last", n)
	}
	hoarder.goodbye()
	if err := s.between(func() { s.forgetClients() }); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.stored(t); n != 1 {
		t.Errorf("%d answers are stored after a goodbye, want the other client's", n)
	}
}

func (p *peer) wantSize(name string, size int) model.Variable {
	p.t.Helper()
	v, err := p.get("t", "s", name)
	if err != nil || len(v.Data) != size {
		p.t.Fatalf("%s: %v, %d bytes, want %d", name, err, len(v.Data), size)
	}
	return v
}

// TestAnswersOfAll: the answers to all clients together have a bound, too, and who has the most loses first.
func TestAnswersOfAll(t *testing.T) {
	s := startCore(t)
	big, small := newClient("big"), newClient("small")
	s.mu.Lock()
	s.clients["big"], s.clients["small"] = big, small
	s.mu.Unlock()
	err := s.between(func() {
		small.keep(1, answer{bytes: answerCost})
		s.answers += answerCost
		for i := range uint64(3) {
			const n = maxAnswers / 2
			big.keep(i+1, answer{bytes: n})
			s.answers += n
		}
		s.bound(small)
		if len(big.results) != 1 || big.lost != 2 || len(small.results) != 1 || s.answers > maxAnswers {
			t.Errorf("%d and %d answers are left, %d bytes", len(big.results), len(small.results), s.answers)
		}
		// Nor are answers kept for ever.
		s.looked = time.Time{}
		s.forgetResults()
		if len(big.results)+len(small.results) != 0 || s.answers != 0 || small.lost != 1 {
			t.Errorf("%d answers are left after a long time", len(big.results)+len(small.results))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestForgottenClient: a report that was sent before the server may have forgotten its client is not carried out a second
// time; one that was sent before the server knew the client at all is.
func TestForgottenClient(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	r := report(5, 5, "v", "x")
	r.Age = int64(time.Second)
	if a := ack(p, r); a.Code != model.CodeOK {
		t.Errorf("sent a second ago, to a server that had not seen it: %+v", a)
	}
	p = connect(t, s)
	r.Age = int64(2 * forgetAfter)
	if a := ack(p, r); a.Code != model.CodeForgotten {
		t.Errorf("sent long ago: %+v", a)
	}
	s.mu.Lock()
	s.forgot = time.Now()
	s.mu.Unlock()
	p = connect(t, s)
	r.Age = int64(time.Minute)
	if a := ack(p, r); a.Code != model.CodeForgotten {
		t.Errorf("sent before clients were forgotten: %+v", a)
	}
	p.wantValue("v", "x")
}

// TestClientsComeAndGo: of clients that came and left nothing is kept but what may be asked for.
func TestClientsComeAndGo(t *testing.T) {
	s := startCore(t, func(o *setup) { o.interval = time.Hour })
	p := connect(t, s)
	p.do(store("v", ""))
	err := s.between(func() {
		s.mu.Lock()
		for i := range maxGone + 100 {
			c := newClient(fmt.Sprint("idle", i))
			s.clients[c.id] = c
			c = newClient(fmt.Sprint("busy", i))
			c.keep(1, answer{bytes: answerCost})
			s.answers += answerCost
			for id := range uint64(100) {
				c.reserve(id)
			}
			s.clients[c.id] = c
		}
		s.mu.Unlock()
		s.forgetClients()
		reserved := 0
		for _, c := range s.clients {
			reserved += c.reservations(false)
		}
		if len(s.clients) != maxGone+1 || reserved > maxGoneReserved+100 || s.answers > (maxGone+1)*1024 || len(s.stale) != 0 {
			t.Errorf("%d clients, %d ids, %d bytes of answers are left", len(s.clients), reserved, s.answers)
		}
		if s.forgot.IsZero() {
			t.Error("it is not known that clients were forgotten early")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRecordOfSchema1: what an older server has stored of a client in one record is known, until it is old.
func TestRecordOfSchema1(t *testing.T) {
	b := []byte{1} // the format as it was: acked, count, then seq, count, and id, version, mtime, size, unchanged
	for _, n := range []uint64{3, 2, 4, 1, 77, 8, 9, 10} {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, 1)
	b = append(b, 5, 0)
	id := []byte("0123456789abcdef")
	old, err := restoreLegacy(engine.Client{ID: string(id), Data: b}, 99)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restoreLegacy(engine.Client{Data: b[:len(b)-1]}, 99); err == nil {
		t.Error("half a record was read")
	}
	s := startCore(t)
	s.mu.Lock()
	s.legacy[string(id)] = old
	s.mu.Unlock()
	p := connect(t, s, as(id))
	a := ack(p, report(4, 3, "v", "x"))
	if want := (model.Result{ID: 77, Version: 8, MTime: 9, Size: 10, Unchanged: true}); a.Rev != 99 || len(a.Results) != 1 || a.Results[0] != want {
		t.Errorf("answered %+v", a)
	}
	if a := ack(p, report(2, 3, "v", "x")); a.Code != model.CodeInvalid {
		t.Errorf("below the acked: %+v", a)
	}
	if a := ack(p, report(6, 3, "v", "x")); a.Code != model.CodeOK || a.Results[0].ID == 77 {
		t.Errorf("a new report: %+v", a)
	}
	p.wantValue("v", "x")
	if err := s.between(func() {
		s.looked, s.up = time.Time{}, time.Now().Add(-2*forgetAfter)
		s.forgetResults()
		if len(s.legacy) != 0 || len(s.stale) != 0 {
			t.Errorf("%d old records are left", len(s.legacy))
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestAnswersOfABatchAreOneRecord: what one batch has for a client takes one key, and each answer is there for as long as
// the client may ask for it, also after a restart.
func TestAnswersOfABatchAreOneRecord(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	p, other := connect(t, s), connect(t, s)
	const n = 10
	var calls []<-chan any
	err := s.between(func() { // the committer waits meanwhile
		for seq := uint64(1); seq <= n; seq++ {
			calls = append(calls, p.begin(report(seq, 0, "v", "x")))
		}
		calls = append(calls, other.begin(report(1, 0, "w", "x")))
	})
	if err != nil {
		t.Fatal(err)
	}
	var answers []*model.Outcome
	for i, c := range calls {
		if i < n {
			answers = append(answers, p.outcome(c))
		} else {
			other.outcome(c)
		}
	}
	if n, _ := s.stored(t); n != 2 {
		t.Errorf("%d answers are stored of a batch for two clients", n)
	}
	again := func(p *peer, acked uint64) {
		t.Helper()
		for seq := max(acked, 1); seq <= n; seq++ {
			if a, want := ack(p, report(seq, acked, "v", "x")), answers[seq-1]; a.Code != model.CodeOK || a.Results[0] != want.Results[0] {
				t.Errorf("report %d again: %+v, want %+v", seq, a, want)
			}
		}
		p.wantSize("v", n)
	}
	again(p, 0)
	again(p, 5)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	p = connect(t, s, as(p.id))
	again(p, 5)
	again(p, 8)
	ack(p, report(n+1, n+1, "v", "x"))
	ack(p, report(n+2, n+2, "v", "x"))
	if n, _ := s.stored(t); n != 2 {
		t.Errorf("%d answers are stored of clients that have nearly all", n)
	}
}
