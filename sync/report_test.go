package sync_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
	"github.com/commy-project/commyfs/transport/transporttest"
)

func change() model.Change {
	return model.Change{Op: model.OpStore, Tenant: "t", Service: "s", Name: "v", Data: []byte("x")}
}

func within(d time.Duration) func(*varsync.Options) {
	return func(o *varsync.Options) { o.Timeout = d }
}

// reportAll makes n reports, many at a time, all of which have to fail for want of an answer.
func reportAll(t *testing.T, c *varsync.Client, n int) {
	t.Helper()
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(n))
	for range 512 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := c.Report(t.Context(), change()); !errors.Is(err, model.ErrDisconnected) {
					t.Errorf("got %v, want ErrDisconnected", err)
				}
			}
		})
	}
	wg.Wait()
}

// Reports that are given up while the server says that it is not available leave nothing behind: neither for the client
// nor for the server, which keeps the answers from the first number that somebody waits for.
func TestGivenUpReportsLeaveNothing(t *testing.T) {
	testenv.NoLeaks(t)
	var available atomic.Bool
	f := &fake{t: t}
	f.handle = func(send func(uint64, transport.Message), id uint64, m transport.Message) {
		r := m.(*transport.ReportVariableChanges)
		switch {
		case !available.Load():
			send(id, &transport.VariableChangesAcknowledged{Seq: r.Seq, Code: model.CodeUnavailable})
		case r.Acked != r.Seq:
			send(id, &transport.VariableChangesAcknowledged{Seq: r.Seq, Code: model.CodeInvalid, Message: "too many answers"})
		default:
			send(id, accept(r))
		}
	}
	c := f.client(within(30 * time.Millisecond))
	reportAll(t, c, 10_000)
	available.Store(true)
	for range 3 {
		err := testenv.Poll(10*time.Second, func() error {
			_, err := c.Report(t.Context(), change())
			if !errors.Is(err, model.ErrDisconnected) {
				return err // a late answer is the machine's fault
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A server that answers nothing is not sent more than it could keep the answers to: who comes then fails as everybody
// does, within the timeout, and once it answers all is well.
func TestReportsToASilentServer(t *testing.T) {
	testenv.NoLeaks(t)
	var (
		mu       sync.Mutex
		answers  bool
		held     []func()
		received int
	)
	f := &fake{t: t}
	f.handle = func(send func(uint64, transport.Message), id uint64, m transport.Message) {
		mu.Lock()
		defer mu.Unlock()
		received++
		answer := func() { send(id, accept(m.(*transport.ReportVariableChanges))) }
		if answers {
			answer()
		} else {
			held = append(held, answer)
		}
	}
	c := f.client(within(100 * time.Millisecond))
	reportAll(t, c, 3000)
	mu.Lock()
	if received > 2048 {
		t.Errorf("%d reports were sent", received)
	}
	answers = true
	for _, answer := range held {
		answer()
	}
	mu.Unlock()
	if err := testenv.Poll(10*time.Second, func() error { _, err := c.Report(t.Context(), change()); return err }); err != nil {
		t.Fatal(err)
	}
	if n := f.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A change whose report was given up can still be carried out. The server does not send its bytes back: they are here.
func TestEchoOfAGivenUpReport(t *testing.T) {
	f := &fake{t: t, value: "1"}
	proceed, sent := make(chan struct{}), make(chan struct{}, 2)
	f.handle = func(send func(uint64, transport.Message), id uint64, m transport.Message) {
		r := m.(*transport.ReportVariableChanges)
		sent <- struct{}{}
		<-proceed
		send(0, &transport.VariableChanged{Service: fakeService, Rev: 2, Changes: []model.Event{
			{Kind: model.EventSet, ID: fakeVariable, Name: "v", Version: 2, Size: 1, Echo: r.Seq, Own: true}}})
		send(id, accept(r))
	}
	c := f.client()
	v := variable(t, c, "t", "s", "v")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := c.Report(ctx, change())
		failed <- err
	}()
	<-sent
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || !errors.Is(err, model.ErrDisconnected) {
		t.Fatalf("got %v, want Canceled, and that it may have been carried out", err)
	}
	close(proceed)
	if _, err := c.Report(t.Context(), change()); err != nil {
		t.Fatal(err)
	}
	wantValue(t, v, "x")
	if n := f.connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// Nothing that is asked of a client takes longer than its bound while the server takes nothing, pings and pongs apart.
func TestClientOfAStuckServer(t *testing.T) {
	testenv.NoLeaks(t)
	const timeout = 40 * time.Millisecond
	f := &fake{t: t, value: "1", options: transporttest.Options{
		Client: transport.Options{Heartbeat: -1, Silence: -1}, Server: transport.Options{Heartbeat: -1, Silence: -1}}}
	stuck, release := make(chan struct{}, 1), make(chan struct{})
	f.handle = func(func(uint64, transport.Message), uint64, transport.Message) {
		stuck <- struct{}{}
		<-release
	}
	c := f.client(within(timeout))
	v := variable(t, c, "t", "s", "v")
	if _, err := c.Report(t.Context(), change()); !errors.Is(err, model.ErrDisconnected) {
		t.Fatal(err)
	}
	<-stuck
	big := make([]byte, 1<<20)
	calls := map[string]func() error{
		"report": func() error {
			_, err := c.Report(t.Context(), model.Change{Op: model.OpStore, Data: big})
			return err
		},
		"store": func() error { _, err := v.Store(t.Context(), big); return err },
		"commit": func() error {
			_, err := v.Commit(t.Context(), varsync.Edit{Kind: varsync.EditReplace, Data: big})
			return err
		},
		"probe": func() error { _, err := c.Probe(t.Context(), &model.Probe{}); return err },
		"list": func() error {
			return c.List(t.Context(), &model.List{}, func([]model.Entry) error { return nil })
		},
		"flushed": func() error {
			v.Enqueue(varsync.Edit{Kind: varsync.EditReplace, Data: big})
			return v.Flush(t.Context())
		},
		"barrier": func() error {
			if c.Barrier(t.Context()) {
				return nil
			}
			return model.ErrDisconnected
		},
	}
	for range 8 { // until everything between the two is full
		for name, call := range calls {
			began := time.Now()
			if err := call(); !errors.Is(err, model.ErrDisconnected) {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(began); took > 10*time.Second { // 30 s is what a connection waits
				t.Errorf("%s: took %v", name, took)
			}
		}
	}
	if got, _ := load(t, v); got != "1" {
		t.Errorf("value %q", got)
	}
	c.Limits()
	c.Flush()
	c.Close()
	close(release)
}

// TestPutSendsTheDifference: of a variable that the copy has, what differs is sent, under its name; if somebody else was
// first, the caller has to send the whole value.
func TestPutSendsTheDifference(t *testing.T) {
	before := strings.Repeat("x", 1000)
	f := &fake{t: t, value: before}
	sent := make(chan model.Change, 1)
	code := model.CodeOK
	f.handle = func(send func(uint64, transport.Message), id uint64, m transport.Message) {
		r := m.(*transport.ReportVariableChanges)
		ack := accept(r)
		if ack.Code = code; code != model.CodeOK {
			ack.Results = nil
		}
		sent <- r.Changes[0]
		send(id, ack)
	}
	c := f.client()
	v := variable(t, c, "t", "s", "v")
	put := func(name, value string) bool {
		t.Helper()
		_, ok, err := v.Service().Put(t.Context(), name, []byte(value))
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	after := before[:500] + "y" + before[501:]
	if !put("v", after) {
		t.Fatal("the difference was not sent")
	}
	ch := <-sent
	if ch.Op != model.OpPatch || ch.ID != 0 || ch.Expect != fakeVariable || ch.Name != "v" || ch.Base != 1 || len(ch.Ranges) != 1 ||
		ch.Ranges[0].Off != 500 || string(ch.Ranges[0].Data) != "y" || ch.Size != 1000 {
		t.Errorf("sent %+v", ch)
	}
	for _, code = range []model.Code{model.CodeStaleBase, model.CodeConflict, model.CodeNotFound} {
		if put("v", after) {
			t.Errorf("code %d: the value does not have to be sent whole", code)
		}
		<-sent
	}
	if put("none", after) || put("v", strings.Repeat("z", 1000)) {
		t.Error("a difference from nothing")
	}
}

// Who waits for a report or a probe waits as long as the server says that it is loading the service.
func TestLoadingForReports(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"known": true, "not known": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const timeout, signs = 2 * time.Second, 6
			f := &fake{t: t, value: "x"}
			f.handle = func(send func(uint64, transport.Message), id uint64, m transport.Message) {
				go func() {
					for range signs {
						time.Sleep(timeout / (signs - 3))
						send(0, &transport.Snapshot{Service: fakeService, More: true})
					}
					switch m := m.(type) {
					case *transport.ReportVariableChanges:
						send(id, accept(m))
					case *transport.Probe:
						send(id, &transport.Probed{Version: 1})
					}
				}()
			}
			c := f.client(func(o *varsync.Options) { o.Timeout, o.NoTree = timeout, !known })
			change := model.Change{Op: model.OpStore, Tenant: "t", Service: "s", Name: "v", Data: []byte("y")}
			if _, err := c.Change(t.Context(), change); err != nil {
				t.Errorf("a report: %v", err)
			}
			if _, err := c.Probe(t.Context(), &model.Probe{ID: fakeVariable, In: fakeService, Want: model.RightWrite}); err != nil {
				t.Errorf("a probe: %v", err)
			}
		})
	}
}
