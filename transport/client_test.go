package transport

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// clientPair returns a client and the server's end, whose requests go to handle.
func clientPair(t *testing.T, o ClientOptions, handle func(s *Conn, e Envelope)) (*Client, *Conn) {
	t.Helper()
	conn, server := unixPair(t, Options{}, Options{})
	client := NewClient(conn, o)
	serve(t, server, func(e Envelope) { handle(server, e) })
	t.Cleanup(func() { _ = client.Close() })
	return client, server
}

// reply answers on the server's side, where a test could only notice that the client has gone.
func reply(s *Conn, envs ...Envelope) { _ = s.Send(envs...) }

func TestCall(t *testing.T) {
	noLeaks(t)
	client, _ := clientPair(t, ClientOptions{}, func(s *Conn, e Envelope) {
		switch m := e.Message.(type) {
		case *Probe:
			reply(s, Envelope{ID: e.ID, Message: &Probed{ID: m.ID + 1}})
		case *Unwatch:
			reply(s, Envelope{ID: e.ID, Message: &Error{Code: model.CodeNotFound, Message: "no service 7"}})
		case *GetStatus:
			_ = s.ws.WriteMessage(2, envelope(lastType+1, e.ID, nil))
		default:
			reply(s, Envelope{ID: e.ID, Message: &Done{}})
		}
	})
	ctx := t.Context()
	got, err := Request[*Probed](ctx, client, &Probe{ID: 41})
	if err != nil || got.ID != 42 {
		t.Errorf("got %+v, %v, want id 42", got, err)
	}
	if m, err := client.Call(ctx, &Unwatch{Service: 7}); !errors.Is(err, model.ErrNotFound) || err.Error() != "no service 7" || m != nil {
		t.Errorf("refusal: got %v, %v", m, err)
	}
	if m, err := client.Call(ctx, &GetStatus{}); !errors.Is(err, model.ErrUnsupported) || m != nil {
		t.Errorf("unknown reply: got %v, %v, want model.ErrUnsupported", m, err)
	}
	if m, err := Request[*Probed](ctx, client, &Ping{}); !errors.Is(err, model.ErrUnsupported) || m != nil {
		t.Errorf("wrong reply: got %v, %v, want model.ErrUnsupported", m, err)
	}
	var wg sync.WaitGroup
	for i := range uint64(64) {
		wg.Go(func() {
			for j := range uint64(20) {
				got, err := Request[*Probed](ctx, client, &Probe{ID: i<<32 + j})
				if err != nil || got.ID != i<<32+j+1 {
					t.Errorf("got %+v, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// Requests that are sent without waiting arrive in order, and replies find their calls in any order.
func TestGoIsOrdered(t *testing.T) {
	const n = 100
	var held []Envelope
	client, _ := clientPair(t, ClientOptions{}, func(s *Conn, e Envelope) {
		if want := uint64(len(held)); e.Message.(*Probe).ID != want {
			t.Errorf("request %d came when %d was due", e.Message.(*Probe).ID, want)
		}
		if held = append(held, e); len(held) < n {
			return
		}
		for i := n - 1; i >= 0; i-- {
			reply(s, Envelope{ID: held[i].ID, Message: &Probed{ID: held[i].Message.(*Probe).ID}})
		}
	})
	var calls []*Pending
	for i := range uint64(n) {
		calls = append(calls, client.Go(t.Context(), &Probe{ID: i}))
	}
	for i, p := range calls {
		m, err := p.Wait(t.Context())
		if err != nil || m.(*Probed).ID != uint64(i) {
			t.Errorf("call %d: got %+v, %v", i, m, err)
		}
		select {
		case <-p.Done():
		default:
			t.Error("Wait returned before Done")
		}
	}
}

// What the whole of sync rests on: a push that was sent before a reply has been handled when the reply's waiter wakes,
// and one that was sent after it has not been begun before.
func TestPushBeforeReply(t *testing.T) {
	noLeaks(t)
	var handled uint64 // written on the receive loop only; read after a reply, which orders it
	client, _ := clientPair(t, ClientOptions{OnPush: func(m Message) {
		handled = m.(*VariableChanged).Service
	}}, func(s *Conn, e Envelope) {
		id := e.Message.(*Probe).ID
		push := func(n uint64) Envelope { return Envelope{Message: &VariableChanged{Service: n}} }
		switch id % 3 {
		case 0: // in one message
			reply(s, push(id-1), push(id), Envelope{ID: e.ID, Message: &Probed{ID: id}})
		case 1: // in three
			reply(s, push(id-1))
			reply(s, push(id))
			reply(s, Envelope{ID: e.ID, Message: &Probed{ID: id}})
		case 2: // as error
			reply(s, push(id-1), push(id), Envelope{ID: e.ID, Message: &Error{Code: model.CodeConflict}})
		}
	})
	for i := uint64(1); i < 3000; i++ {
		if _, err := client.Call(t.Context(), &Probe{ID: i}); err != nil && !errors.Is(err, model.ErrConflict) {
			t.Fatal(err)
		}
		if handled != i {
			t.Fatalf("push %d handled, want %d", handled, i)
		}
	}
}

func TestStartAndStreamRunInOrder(t *testing.T) {
	noLeaks(t)
	var order []string
	done := make(chan struct{})
	client, _ := clientPair(t, ClientOptions{OnPush: func(Message) { order = append(order, "push") }}, func(s *Conn, e Envelope) {
		switch e.Message.(type) {
		case *WatchTree:
			reply(s, Envelope{ID: e.ID, Message: &Tree{Rev: 1, More: true}}, Envelope{Message: &TreeChanged{}},
				Envelope{ID: e.ID, Message: &Tree{Rev: 2}}, Envelope{ID: e.ID, Message: &Tree{Rev: 3}})
		case *Ping:
			reply(s, Envelope{Message: &TreeChanged{}}, Envelope{ID: e.ID, Message: &Done{}}, Envelope{Message: &TreeChanged{}})
		case *Goodbye:
			reply(s, Envelope{ID: e.ID, Message: &Done{}})
		}
	})
	err := client.CallStream(t.Context(), &WatchTree{}, func(m Message) (bool, error) {
		tree := m.(*Tree)
		order = append(order, fmt.Sprint("page ", tree.Rev))
		return tree.More, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(t.Context(), &Ping{}, func(m Message, err error) { order = append(order, fmt.Sprintf("%T %v", m, err)) }); err != nil {
		t.Fatal(err)
	}
	if err := client.Start(t.Context(), &Goodbye{}, func(Message, error) { close(done) }); err != nil {
		t.Fatal(err)
	}
	<-done
	if got, want := fmt.Sprint(order), "[page 1 push page 2 push *transport.Done <nil> push]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestStreamStops(t *testing.T) {
	noLeaks(t)
	client, _ := clientPair(t, ClientOptions{}, func(s *Conn, e Envelope) {
		switch e.Message.(type) {
		case *List:
			for range 3 {
				reply(s, Envelope{ID: e.ID, Message: &Entries{More: true}})
			}
		case *WatchTree:
			reply(s, Envelope{ID: e.ID, Message: &Tree{More: true}}, Envelope{ID: e.ID, Message: &Error{Code: model.CodeInternal, Message: "x"}})
		default:
			reply(s, Envelope{ID: e.ID, Message: &Done{}})
		}
	})
	t.Run("by its own error", func(t *testing.T) {
		stop := errors.New("enough")
		pages := 0
		err := client.CallStream(t.Context(), &List{}, func(Message) (bool, error) { pages++; return true, stop })
		if !errors.Is(err, stop) || pages != 1 {
			t.Errorf("got %v after %d pages, want %v after 1", err, pages, stop)
		}
	})
	t.Run("by the server's", func(t *testing.T) {
		err := client.CallStream(t.Context(), &WatchTree{}, func(Message) (bool, error) { return true, nil })
		if !errors.Is(err, model.ErrInternal) {
			t.Errorf("got %v, want model.ErrInternal", err)
		}
	})
	t.Run("by its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		pages := 0 // not atomic: page must not run when CallStream has returned
		err := client.CallStream(ctx, &List{}, func(Message) (bool, error) { pages++; cancel(); return true, nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want Canceled", err)
		}
		if pages++; pages < 2 {
			t.Error("no page came")
		}
	})
	if _, err := client.Call(t.Context(), &Ping{}); err != nil {
		t.Errorf("the next call: %v", err)
	}

	// A page that was on its way when the caller gave up, too narrow a window to be hit from outside.
	p := &Pending{page: func(Message) (bool, error) { t.Error("page called"); return true, nil }}
	p.abandon()
	if more, err := p.turn(&Entries{}); !more || err != nil {
		t.Errorf("abandoned: got %t, %v", more, err)
	}
}

func TestCallIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	client, _ := clientPair(t, ClientOptions{}, func(s *Conn, e Envelope) {
		if _, ok := e.Message.(*Probe); ok {
			<-release
		}
		reply(s, Envelope{ID: e.ID, Message: &Done{}})
	})
	ctx, cancel := context.WithCancel(t.Context())
	p := client.Go(t.Context(), &Probe{})
	cancel()
	if m, err := p.Wait(ctx); !errors.Is(err, context.Canceled) || m != nil {
		t.Errorf("got %v, %v, want Canceled", m, err)
	}
	close(release)
	if _, err := client.Call(t.Context(), &Ping{}); err != nil { // behind the late reply
		t.Error(err)
	}
	if n := len(client.calls); n != 0 {
		t.Errorf("%d calls are kept", n)
	}
}

// When the connection ends every waiter hears of it once, whatever it waits with, and so does who comes later.
func TestConnectionEnds(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(*Client, *Conn)
		want error
	}{
		"server closes":      {func(_ *Client, s *Conn) { _ = s.Close() }, model.ErrDisconnected},
		"server says why":    {func(_ *Client, s *Conn) { s.CloseWith(model.ErrUnavailable) }, model.ErrUnavailable},
		"client closes":      {func(c *Client, _ *Conn) { _ = c.Close() }, model.ErrDisconnected},
		"client fails":       {func(c *Client, _ *Conn) { c.Fail(model.ErrConflict) }, model.ErrConflict},
		"server breaks form": {func(_ *Client, s *Conn) { _ = s.ws.WriteMessage(2, []byte{1}) }, model.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			seen := make(chan struct{}, 10)
			client, server := clientPair(t, ClientOptions{}, func(*Conn, Envelope) { seen <- struct{}{} })
			outcomes := make(chan error, 10)
			a, b := client.Go(t.Context(), &Ping{}), client.Go(t.Context(), &Ping{})
			if err := client.Start(t.Context(), &Ping{}, func(m Message, err error) { outcomes <- err }); err != nil {
				t.Fatal(err)
			}
			go func() {
				outcomes <- client.CallStream(t.Context(), &List{}, func(Message) (bool, error) { return true, nil })
			}()
			for range 4 {
				<-seen
			}
			select {
			case <-client.Done():
				t.Error("done before the end")
			default:
			}
			end.do(client, server)
			for _, p := range []*Pending{a, b} {
				_, err := p.Wait(context.Background())
				outcomes <- err
			}
			for range 4 {
				if err := <-outcomes; !errors.Is(err, end.want) || !errors.Is(err, model.ErrDisconnected) {
					t.Errorf("got %v, want %v", err, end.want)
				}
			}
			<-client.Done()
			if err := client.Err(); !errors.Is(err, end.want) {
				t.Errorf("Err: got %v, want %v", err, end.want)
			}
			if _, err := client.Call(t.Context(), &Ping{}); !errors.Is(err, end.want) {
				t.Errorf("late call: got %v, want %v", err, end.want)
			}
			if err := client.Start(t.Context(), &Ping{}, func(Message, error) { t.Error("handled") }); !errors.Is(err, end.want) {
				t.Errorf("late start: got %v, want %v", err, end.want)
			}
		})
	}
}

func TestRequestThatCannotBeSent(t *testing.T) {
	client, _ := clientPair(t, ClientOptions{}, func(s *Conn, e Envelope) { reply(s, Envelope{ID: e.ID, Message: &Done{}}) })
	big := report(1, make([]byte, defaultMaxMessage))
	if _, err := client.Call(t.Context(), big); !errors.Is(err, model.ErrTooLarge) {
		t.Errorf("got %v, want model.ErrTooLarge", err)
	}
	if err := client.Start(t.Context(), big, func(Message, error) { t.Error("handled") }); !errors.Is(err, model.ErrTooLarge) {
		t.Errorf("got %v, want model.ErrTooLarge", err)
	}
	if _, err := client.Call(t.Context(), &Ping{}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// When Close returns, nothing of the client runs any more.
func TestCloseWaitsForHandlers(t *testing.T) {
	entered := make(chan struct{})
	var conn *Conn
	returned := false
	client, server := clientPair(t, ClientOptions{OnPush: func(Message) {
		close(entered)
		<-conn.Done()
		for range 1000 {
			runtime.Gosched()
		}
		returned = true
	}}, func(*Conn, Envelope) {})
	conn = client.Conn()
	if err := server.Send(Envelope{Message: &TreeChanged{}}); err != nil {
		t.Fatal(err)
	}
	<-entered
	_ = client.Close()
	if !returned {
		t.Error("Close returned before the handler")
	}
}
