package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
)

// stuckClient is a client whose server lives, and takes nothing until it is told to.
func stuckClient(t *testing.T, o Options) (*Client, *Conn) {
	t.Helper()
	o.Silence = -1
	conn, server := unixPair(t, o, Options{Silence: -1})
	client := NewClient(conn, ClientOptions{})
	t.Cleanup(func() { _ = client.Close() })
	return client, server
}

// A server that takes nothing holds nobody beyond what he is ready to wait, however much is sent, and when it takes again
// what it gets is whole and in order.
func TestCallersOfAStuckServer(t *testing.T) {
	noLeaks(t)
	const timeout, callers, each = 20 * time.Millisecond, 4, 5
	client, server := stuckClient(t, Options{})
	began := time.Now()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for j := range each {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				if _, err := client.Call(ctx, report(uint64(i*each+j+1), payload(1<<20, byte(i)))); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want DeadlineExceeded", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	if err := client.CallStream(ctx, &List{}, func(Message) (bool, error) { return true, nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stream: got %v, want DeadlineExceeded", err)
	}
	cancel()
	if took := time.Since(began); took > defaultWriteTimeout/2 {
		t.Errorf("took %v", took)
	}
	seen := map[uint64]int{}
	last := map[byte]uint64{}
	var bad error
	serve(t, server, func(e Envelope) {
		if r, ok := e.Message.(*ReportVariableChanges); ok {
			data := r.Changes[0].Data
			seen[r.Seq]++
			if r.Seq <= last[data[0]] || len(data) != 1<<20 {
				bad = fmt.Errorf("%d behind %d, %d bytes", r.Seq, last[data[0]], len(data))
			}
			last[data[0]] = r.Seq
		}
		reply(server, Envelope{ID: e.ID, Message: &Done{}})
	})
	if _, err := client.Call(t.Context(), &Ping{}); err != nil {
		t.Fatal(err)
	}
	if bad != nil {
		t.Error(bad)
	}
	for seq, n := range seen {
		if n != 1 {
			t.Errorf("request %d came %d times", seq, n)
		}
	}
}

// What waits for a stuck server ends with the connection, and nothing of it runs on.
func TestClosingAStuckClient(t *testing.T) {
	noLeaks(t)
	client, _ := stuckClient(t, Options{})
	var calls sync.WaitGroup
	for range 40 { // more than may be queued
		calls.Go(func() {
			if _, err := client.Call(t.Context(), report(1, payload(1<<20, 0))); !errors.Is(err, model.ErrDisconnected) {
				t.Errorf("got %v, want model.ErrDisconnected", err)
			}
		})
	}
	eventually(t, "somebody waits for room", func() bool {
		client.conn.out.mu.Lock()
		defer client.conn.out.mu.Unlock()
		return client.conn.out.room != nil
	})
	_ = client.Close()
	calls.Wait()
	if _, err := client.Call(t.Context(), &Ping{}); !errors.Is(err, model.ErrDisconnected) {
		t.Errorf("got %v, want model.ErrDisconnected", err)
	}
}

// What is sent without waiting to a peer that takes nothing waits in part, or whole, and arrives whole and in order when the
// peer takes again. Signs of life go with it, and tear nothing apart.
func TestSendNowToAStuckPeer(t *testing.T) {
	noLeaks(t)
	conn, server := unixPair(t, Options{Silence: -1, Heartbeat: time.Millisecond}, Options{Silence: -1})
	const size, more = 40_000, 3
	sent := uint64(0)
	send := func() bool {
		sent++
		left, err := conn.SendNow(Envelope{ID: sent, Message: report(sent, payload(size, byte(sent)))})
		if err != nil {
			t.Fatal(err)
		}
		return left
	}
	for !send() {
	}
	for range more {
		if !send() {
			t.Error("nothing is left although the peer takes nothing")
		}
	}
	flushed := make(chan error, 1)
	go func() { flushed <- conn.Flush() }()
	for next := uint64(1); next <= sent; {
		envs, err := server.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range envs {
			r := e.Message.(*ReportVariableChanges)
			if e.ID != next || r.Seq != next || !bytes.Equal(r.Changes[0].Data, payload(size, byte(next))) {
				t.Fatalf("%d came where %d should", e.ID, next)
			}
			next++
		}
	}
	if err := <-flushed; err != nil {
		t.Error(err)
	}
}

// Who starts a request with a context that has ended has it sent as long as nobody waits for that.
func TestStartWithoutWaiting(t *testing.T) {
	noLeaks(t)
	client, server := stuckClient(t, Options{})
	full := errors.New("full")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(full)
	const most = 100
	sent, answered := 0, make(chan error, most)
	for {
		err := client.Start(ctx, report(uint64(sent+1), payload(1<<20, 0)), func(_ Message, err error) { answered <- err })
		if err != nil {
			if !errors.Is(err, full) {
				t.Fatal(err)
			}
			break
		}
		if sent++; sent == most {
			t.Fatal("it is never full")
		}
	}
	if sent == 0 {
		t.Error("nothing was sent")
	}
	serve(t, server, func(e Envelope) { reply(server, Envelope{ID: e.ID, Message: &Done{}}) })
	for range sent {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
}
