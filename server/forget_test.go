package server

import (
	"fmt"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// awaitAlone waits until the server knows that no client is connected.
func awaitAlone(t *testing.T, s *Server) {
	t.Helper()
	testenv.Eventually(t, bound, func() error {
		if n := len(s.core.sessions()); n != 0 {
			return fmt.Errorf("%d sessions", n)
		}
		return nil
	})
}

// TestClientWhoseReportWaits: a client is not forgotten while what it has sent is still to be carried out, and comes back to
// the answer.
func TestClientWhoseReportWaits(t *testing.T) {
	s := startServer(t, func(o *Options) { o.interval = time.Hour })
	p := connect(t, s)
	p.do(store("v", ""))
	p.cl.Close()
	awaitAlone(t, s)
	p = connect(t, s)
	r := report(1, 1, "v", "x")
	if err := s.core.between(func() { // while the committer is busy
		p.cl.Go(t.Context(), r)
		testenv.Eventually(t, bound, func() error {
			s.core.queue.mu.Lock()
			defer s.core.queue.mu.Unlock()
			if len(s.core.queue.lines) == 0 {
				return fmt.Errorf("no report waits")
			}
			return nil
		})
		p.cl.Close()
		awaitAlone(t, s)
		s.core.forgetClients()
	}); err != nil {
		t.Fatal(err)
	}
	p = connect(t, s, as(p.id))
	r.Age = 1
	if a := ack(p, r); a.Code != model.CodeOK {
		t.Errorf("sent again: %+v", a)
	}
	p.wantValue("v", "x")
}

// TestNothingAfterGoodbye: a client that the server was told to forget leaves nothing behind that nobody would ever take
// away.
func TestNothingAfterGoodbye(t *testing.T) {
	s := startServer(t)
	p := connect(t, s)
	p.do(store("v", ""))
	must[*transport.Done](p, &transport.Goodbye{})
	if a, err := call[*transport.VariableChangesAcknowledged](p, report(50, 0, "v", "x")); err == nil && a.Code == model.CodeOK {
		t.Errorf("carried out: %+v", a)
	}
	if err := s.core.between(func() {
		if s.core.answers != 0 {
			t.Errorf("%d bytes of answers are counted for nobody", s.core.answers)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// TestLostAnswersAreRemembered: a client that has lost all its answers is not forgotten before its time: it may ask for them.
func TestLostAnswersAreRemembered(t *testing.T) {
	s := startServer(t, func(o *Options) { o.interval = time.Hour })
	p := connect(t, s)
	r := report(1, 0, "v", "x")
	ack(p, r)
	p.cl.Close()
	awaitAlone(t, s)
	if err := s.core.between(func() {
		s.core.mu.Lock()
		for _, c := range s.core.clients {
			defer s.core.lose(c, len(c.results))
		}
		s.core.mu.Unlock()
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.core.between(func() { s.core.forgetClients() }); err != nil {
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
	s := d.start(t, func(o *Options) { o.interval = time.Hour })
	p := connect(t, s)
	r := report(1, 0, "v", "x")
	ack(p, r)
	p.cl.Close()
	awaitAlone(t, s)
	if err := s.core.between(func() {
		s.core.mu.Lock()
		for i := range maxGone { // a flood
			c := newClient(fmt.Sprint("flood", i))
			c.reserve(1)
			s.core.clients[c.id] = c
		}
		s.core.mu.Unlock()
		s.core.forgetClients()
	}); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.core.stored(t); n != 0 {
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
