package core

import (
	"fmt"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
)

// awaitAlone waits until the server knows that no client is connected.
func awaitAlone(t *testing.T, s *testCore) {
	t.Helper()
	testenv.Eventually(t, bound, func() error {
		if n := len(s.sessions()); n != 0 {
			return fmt.Errorf("%d sessions", n)
		}
		return nil
	})
}

// TestClientWhoseReportWaits: a client is not forgotten while what it has sent is still to be carried out, and comes back to
// the answer.
func TestClientWhoseReportWaits(t *testing.T) {
	s := startCore(t, func(o *setup) { o.interval = time.Hour })
	p := connect(t, s)
	p.do(store("v", ""))
	p.close()
	awaitAlone(t, s)
	p = connect(t, s)
	r := report(1, 1, "v", "x")
	if err := s.between(func() { // while the committer is busy
		p.begin(r)
		testenv.Eventually(t, bound, func() error {
			s.queue.mu.Lock()
			defer s.queue.mu.Unlock()
			if len(s.queue.lines) == 0 {
				return fmt.Errorf("no report waits")
			}
			return nil
		})
		p.close()
		awaitAlone(t, s)
		s.forgetClients()
	}); err != nil {
		t.Fatal(err)
	}
	p = connect(t, s, as(p.id))
	again := *r // the first one may just be carried out
	again.Age = 1
	if a := ack(p, &again); a.Code != model.CodeOK {
		t.Errorf("sent again: %+v", a)
	}
	p.wantValue("v", "x")
}

// TestNothingAfterGoodbye: a client that the server was told to forget leaves nothing behind that nobody would ever take
// away.
func TestNothingAfterGoodbye(t *testing.T) {
	s := startCore(t)
	p := connect(t, s)
	p.do(store("v", ""))
	p.goodbye()
	if err := p.Report(Ticket{}, report(50, 0, "v", "x")); err == nil {
		t.Error("it is taken")
	}
	p.feed.mu.Lock()
	if len(p.feed.expected) > 0 {
		t.Error("the outcome of what was refused is waited for")
	}
	p.feed.mu.Unlock()
	if err := s.between(func() {
		if s.answers != 0 {
			t.Errorf("%d bytes of answers are counted for nobody", s.answers)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestLostAnswersAreRemembered: a client that has lost all its answers is not forgotten before its time: it may ask for them.
func TestLostAnswersAreRemembered(t *testing.T) {
	s := startCore(t, func(o *setup) { o.interval = time.Hour })
	p := connect(t, s)
	r := report(1, 0, "v", "x")
	ack(p, r)
	p.close()
	awaitAlone(t, s)
	if err := s.between(func() {
		s.mu.Lock()
		for _, c := range s.clients {
			defer s.lose(c, len(c.results))
		}
		s.mu.Unlock()
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.between(func() { s.forgetClients() }); err != nil {
		t.Fatal(err)
	}
	p = connect(t, s, as(p.id))
	r.Age = int64(time.Second)
	if a := ack(p, r); a.Code != model.CodeForgotten {
		t.Errorf("sent again: %+v", a)
	}
	p.wantValue("v", "x")
}

// TestForgottenEarlyIsKnownAfterARestart: that clients were forgotten because there were too many is stored.
func TestForgottenEarlyIsKnownAfterARestart(t *testing.T) {
	d := newDirs(t)
	s := d.start(t, func(o *setup) { o.interval = time.Hour })
	p := connect(t, s)
	r := report(1, 0, "v", "x")
	ack(p, r)
	p.close()
	awaitAlone(t, s)
	if err := s.between(func() {
		s.mu.Lock()
		for i := range maxGone { // a flood
			c := newClient(fmt.Sprint("flood", i))
			c.reserve(1)
			s.clients[c.id] = c
		}
		s.mu.Unlock()
		s.forgetClients()
	}); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.stored(t); n != 0 {
		t.Fatalf("%d answers are stored", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p = connect(t, d.start(t), as(p.id))
	r.Age = int64(time.Minute)
	if a := ack(p, r); a.Code != model.CodeForgotten {
		t.Errorf("sent again: %+v", a)
	}
	p.wantValue("v", "x")
}
