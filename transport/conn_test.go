package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/commy-project/commyfs/model"
)

func payload(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8)*31 + byte(i) + seed
	}
	return b
}

func report(seq uint64, data []byte) *ReportVariableChanges {
	return &ReportVariableChanges{Seq: seq, Changes: []model.Change{{Op: model.OpStore, Data: data}}}
}

// Every size that takes another path in reading or writing, both ways, over both kinds of stream.
func TestSizes(t *testing.T) {
	noLeaks(t)
	sizes := []int{0, 1, 100, smallBuffer - 40, smallBuffer, bigBuffer - 60, bigBuffer, bigBuffer + 1, maxBatch, maxBatch + 1, 1 << 20, 5 << 20, 16 << 20}
	run := func(t *testing.T, from, to *Conn) {
		errs := make(chan error, 1)
		go func() {
			for i, n := range sizes {
				if err := from.Send(Envelope{ID: uint64(i), Message: report(uint64(n), payload(n, byte(i)))}); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
		var kept [][]byte
		for len(kept) < len(sizes) {
			envs, err := to.Receive()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range envs {
				kept = append(kept, e.Message.(*ReportVariableChanges).Changes[0].Data)
			}
		}
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
		for i, n := range sizes {
			if !bytes.Equal(kept[i], payload(n, byte(i))) {
				t.Errorf("value of %d bytes came as another, of %d", n, len(kept[i]))
			}
		}
	}
	tlsServer := &testServer{}
	ca := tlsServer.onTLS(t)
	for _, tt := range []struct {
		name string
		s    *testServer
		o    DialOptions
	}{
		{"unix", (&testServer{}).onUnix(t), DialOptions{}},
		{"tls", tlsServer, DialOptions{CAFile: ca}},
	} {
		client, server := tt.s.connect(t, tt.o)
		t.Run(tt.name+"/to server", func(t *testing.T) { run(t, client, server) })
		t.Run(tt.name+"/to client", func(t *testing.T) { run(t, server, client) })
	}
}

// Bytes that were received stay as they are while more is received.
func TestReceivedBytesAreOwned(t *testing.T) {
	client, server := unixPair(t, Options{}, Options{})
	const batches, n = 40, 20 // so small that they are read into the buffer that is used again
	kept := receiveBatches(t, client, server, batches, n)
	for i, b := range kept {
		if !bytes.Equal(b, payload(700, byte(i/n*31+i%n))) {
			t.Fatalf("value %d was overwritten", i)
		}
	}
}

// A small value does not keep the message alive in which it came.
func TestReceivedBytesKeepNothingElse(t *testing.T) {
	client, server := unixPair(t, Options{}, Options{})
	const batches, n = 40, 200
	all := receiveBatches(t, client, server, batches, n)
	var few [][]byte
	for i := 0; i < len(all); i += n / 2 {
		few = append(few, all[i])
	}
	alive := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := alive()
	runtime.KeepAlive(all) // and no longer
	freed := int64(before) - int64(alive())
	runtime.KeepAlive(few)
	if want := int64(batches * n * 700 * 9 / 10); freed < want {
		t.Errorf("%d bytes freed, want at least %d", freed, want)
	}
}

// receiveBatches returns the values of batches WebSocket messages of n envelopes each.
func receiveBatches(t *testing.T, client, server *Conn, batches, n int) (kept [][]byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		var err error
		for b := 0; b < batches && err == nil; b++ {
			var envs []Envelope
			for i := range n { // no two batches the same, or one could overwrite another unseen
				envs = append(envs, Envelope{ID: uint64(i), Message: report(uint64(i), payload(700, byte(b*31+i)))})
			}
			err = client.Send(envs...)
		}
		sent <- err
	}()
	for len(kept) < batches*n {
		got, err := server.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range got {
			kept = append(kept, e.Message.(*ReportVariableChanges).Changes[0].Data)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	return kept
}

// What goroutines send arrives whole, once, and in each one's order.
func TestConcurrentSend(t *testing.T) {
	noLeaks(t)
	client, server := unixPair(t, Options{}, Options{})
	const senders, each = 8, 400
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				size := 10
				if i%50 == 0 {
					size = maxBatch + 1000
				}
				if err := client.Send(Envelope{ID: uint64(s + 1), Message: report(uint64(i), payload(size, byte(s)))},
					Envelope{ID: uint64(s + 1), Message: &Ping{}}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	next := make([]int, senders+1)
	pings := 0
	for got := 0; got < 2*senders*each; {
		envs, err := server.Receive()
		if err != nil {
			t.Fatal(err)
		}
		got += len(envs)
		for _, e := range envs {
			r, ok := e.Message.(*ReportVariableChanges)
			if !ok {
				pings++
				continue
			}
			if int(r.Seq) != next[e.ID] {
				t.Fatalf("sender %d: message %d came when %d was due", e.ID, r.Seq, next[e.ID])
			}
			next[e.ID]++
			if d := r.Changes[0].Data; !bytes.Equal(d, payload(len(d), byte(e.ID-1))) {
				t.Fatalf("sender %d: message %d is damaged", e.ID, r.Seq)
			}
		}
	}
	wg.Wait()
	if pings != senders*each {
		t.Errorf("%d pings came, want %d", pings, senders*each)
	}
}

func TestBatching(t *testing.T) {
	client, server := unixPair(t, Options{}, Options{})
	small := Envelope{Message: report(1, payload(100<<10, 0))}
	big := Envelope{Message: report(2, payload(300<<10, 0))}
	sent := make(chan error, 1)
	go func() { sent <- client.Send(small, small, small, big, small, big, big) }()
	for i, want := range []int{2, 1, 1, 1, 1, 1} {
		envs, err := server.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if len(envs) != want {
			t.Errorf("message %d has %d envelopes, want %d", i, len(envs), want)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestTooLargeIsRefusedAndNothingElse(t *testing.T) {
	client, server := unixPair(t, Options{MaxMessage: 1000}, Options{MaxMessage: 1000})
	err := client.Send(Envelope{ID: 1, Message: &Ping{}}, Envelope{ID: 2, Message: report(1, make([]byte, 1000))})
	if !errors.Is(err, model.ErrTooLarge) {
		t.Errorf("got %v, want model.ErrTooLarge", err)
	}
	if err := client.Send(Envelope{ID: 3, Message: &Unknown{Type: 99}}); err == nil || errors.Is(err, model.ErrDisconnected) {
		t.Errorf("unknown message: got %v", err)
	}
	if err := client.Send(Envelope{ID: 4, Message: &Ping{}}); err != nil {
		t.Fatal(err)
	}
	envs, err := server.Receive()
	if err != nil || len(envs) != 1 || envs[0].ID != 4 {
		t.Errorf("got %v, %v, want the last message alone", envs, err)
	}
}

func TestPeerSendsTooMuch(t *testing.T) {
	client, server := unixPair(t, Options{}, Options{MaxMessage: 1000})
	if err := client.Send(Envelope{ID: 1, Message: report(1, make([]byte, 100<<10))}); err != nil && !errors.Is(err, model.ErrDisconnected) {
		t.Error(err)
	}
	if _, err := server.Receive(); !errors.Is(err, model.ErrDisconnected) || !errors.Is(err, websocket.ErrReadLimit) {
		t.Errorf("got %v, want read limit and model.ErrDisconnected", err)
	}
}

func TestBrokenFrames(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind int
		data []byte
	}{
		{"text", websocket.TextMessage, []byte("{}")},
		{"empty", websocket.BinaryMessage, nil},
		{"short", websocket.BinaryMessage, []byte{1, 2}},
		{"length beyond the message", websocket.BinaryMessage, []byte{200, 0, 0, 0, 1, 0, 0x80}},
		{"announced 4 GiB", websocket.BinaryMessage, append([]byte{255, 255, 255, 255}, make([]byte, 100<<10)...)},
		{"broken body", websocket.BinaryMessage, envelope(TypeUnwatch, 1, []byte{0xc1})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server := unixPair(t, Options{}, Options{})
			if err := client.ws.WriteMessage(tt.kind, tt.data); err != nil {
				t.Fatal(err)
			}
			before := heapAllocated()
			_, err := server.Receive()
			if !errors.Is(err, model.ErrInvalid) || !errors.Is(err, model.ErrDisconnected) {
				t.Errorf("got %v, want model.ErrInvalid and model.ErrDisconnected", err)
			}
			if got := heapAllocated() - before; got > 4<<20 {
				t.Errorf("%d bytes allocated", got)
			}
			if _, again := server.Receive(); again == nil || again.Error() != err.Error() {
				t.Errorf("second time: got %v, want %v", again, err)
			}
		})
	}
}

func TestCloseTellsThePeer(t *testing.T) {
	noLeaks(t)
	for _, tt := range []struct {
		name  string
		close func(*Conn)
		want  []error
		not   error
	}{
		{"close", func(c *Conn) { _ = c.Close() }, []error{model.ErrDisconnected}, model.ErrUnauthorized},
		{"reason", func(c *Conn) { c.CloseWith(&model.Error{Code: model.CodeUnauthorized, Message: "key revoked"}) }, []error{model.ErrUnauthorized, model.ErrDisconnected}, model.ErrDenied},
		{"long reason", func(c *Conn) {
			c.CloseWith(&model.Error{Code: model.CodeUnauthorized, Message: strings.Repeat("é", 100)})
		}, []error{model.ErrUnauthorized, model.ErrDisconnected}, model.ErrDenied},
		{"fail", func(c *Conn) { c.Fail(io.ErrUnexpectedEOF) }, []error{model.ErrDisconnected}, model.ErrUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server := unixPair(t, Options{}, Options{})
			if client.Err() != nil || server.Err() != nil {
				t.Fatal("error before the end")
			}
			tt.close(server)
			<-server.Done()
			if err := server.Send(Envelope{Message: &Ping{}}); !errors.Is(err, model.ErrDisconnected) {
				t.Errorf("send after the end: got %v", err)
			}
			_, err := client.Receive()
			for _, want := range tt.want {
				if !errors.Is(err, want) {
					t.Errorf("peer got %v, want %v", err, want)
				}
			}
			if errors.Is(err, tt.not) {
				t.Errorf("peer got %v", err)
			}
			if model.CodeOf(err) != tt.want[0].(*model.Error).Code {
				t.Errorf("code %d, want that of %v", model.CodeOf(err), tt.want[0])
			}
			_ = server.Close()
			_ = server.Close()
		})
	}
}

func TestCloseEndsReceive(t *testing.T) {
	client, _ := unixPair(t, Options{}, Options{})
	got := make(chan error, 1)
	go func() {
		_, err := client.Receive()
		got <- err
	}()
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if err := <-got; !errors.Is(err, model.ErrDisconnected) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want model.ErrDisconnected and net.ErrClosed", err)
	}
}

// The reason that a peer gave before it closed is not lost because we were sending.
func TestReasonSurvivesFailedSend(t *testing.T) {
	client, server := unixPair(t, Options{}, Options{})
	if err := server.Send(Envelope{ID: 1, Message: &Done{}}); err != nil {
		t.Fatal(err)
	}
	server.CloseWith(&model.Error{Code: model.CodeUnavailable, Message: "server stops"})
	var err error
	for err == nil {
		err = client.Send(Envelope{Message: &Ping{}})
	}
	if !errors.Is(err, syscall.EPIPE) || !errors.Is(err, model.ErrDisconnected) {
		t.Errorf("send: got %v, want EPIPE and model.ErrDisconnected", err)
	}
	if envs, err := client.Receive(); err != nil || envs[0].ID != 1 {
		t.Errorf("got %v, %v, want the answer", envs, err)
	}
	if _, err := client.Receive(); !errors.Is(err, model.ErrUnavailable) {
		t.Errorf("got %v, want model.ErrUnavailable", err)
	}
}

func TestFailedSendEndsTheConnectionWithoutAReader(t *testing.T) {
	client, server := unixPair(t, Options{}, Options{})
	_ = server.Close()
	for client.Send(Envelope{Message: &Ping{}}) == nil {
	}
	<-client.Done() // after drainWait
	if err := client.Err(); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v, want EPIPE", err)
	}
}

func TestStuckPeer(t *testing.T) {
	noLeaks(t)
	for name, stuck := range map[string]func(c, s *Conn) *Conn{
		"client writes": func(c, _ *Conn) *Conn { return c },
		"server writes": func(_, s *Conn) *Conn { return s },
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{WriteTimeout: 50 * time.Millisecond, Silence: -1}
			w := stuck(unixPair(t, o, o)) // nobody reads
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for {
						if err := w.Send(Envelope{Message: report(1, make([]byte, 1<<20))}); err != nil {
							if !errors.Is(err, model.ErrDisconnected) {
								t.Errorf("got %v, want model.ErrDisconnected", err)
							}
							return
						}
					}
				})
			}
			wg.Wait()
			<-w.Done()
		})
	}
}

// A close must not wait for a peer that does not read.
func TestCloseWhileStuck(t *testing.T) {
	noLeaks(t)
	client, _ := unixPair(t, Options{WriteTimeout: time.Hour, Silence: -1}, Options{Silence: -1})
	sent := make(chan error, 1)
	started := make(chan struct{}, 1)
	go func() {
		for {
			if err := client.Send(Envelope{Message: report(1, make([]byte, 1<<20))}); err != nil {
				sent <- err
				return
			}
			select {
			case started <- struct{}{}:
			default:
			}
		}
	}()
	eventually(t, "the sender is stuck", func() bool {
		if client.out.writing.TryLock() {
			client.out.writing.Unlock()
			return false
		}
		return true
	})
	_ = client.Close()
	if err := <-sent; !errors.Is(err, model.ErrDisconnected) {
		t.Errorf("got %v, want model.ErrDisconnected", err)
	}
}

func TestSilenceIsNoticed(t *testing.T) {
	noLeaks(t)
	client, server := unixPair(t, Options{Silence: 100 * time.Millisecond}, Options{Heartbeat: -1})
	serve(t, server, func(Envelope) {})
	start := time.Now()
	_, err := client.Receive()
	if !errors.Is(err, model.ErrDisconnected) {
		t.Errorf("got %v, want model.ErrDisconnected", err)
	}
	if took := time.Since(start); took < 50*time.Millisecond || took > 5*time.Second {
		t.Errorf("noticed after %s", took)
	}
	if fmt.Sprint(err) != "server unreachable: nothing received for 100ms" {
		t.Errorf("got %q", err)
	}
}
