package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// purse is a budget that counts, and gives nothing when it is shut.
type purse struct {
	limit int

	mu         sync.Mutex // guards the following
	used, most int
	takes      int
	shut       error
}

func (p *purse) Limit() int { return p.limit }

func (p *purse) Take(n int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.takes++
	if p.shut != nil {
		return p.shut
	}
	p.used += n
	p.most = max(p.most, p.used)
	return nil
}

func (p *purse) Give(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= n
}

func (p *purse) now() (used, most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used, p.most
}

// tinyBody is the body of a report of as many ranges as fit into size bytes, a byte each.
func tinyBody(size int) []byte {
	change := append([]byte{0x81, 0xa2, 'r', 'g', 0xdc, 0x04, 0x00}, bytes.Repeat([]byte{0x80}, 1024)...)
	body := binary.BigEndian.AppendUint32([]byte{0x81, 0xa1, 'c', 0xdd}, uint32(size/len(change)))
	return append(body, bytes.Repeat(change, size/len(change))...)
}

// TestCost: what a message allocates when it is decoded is known before, from its bytes alone.
func TestCost(t *testing.T) {
	_, bodies := samples()
	list := map[string]rawEnvelope{"tiny ranges": {typ: TypeReportVariableChanges, body: tinyBody(1 << 20)}}
	for _, e := range bodies {
		b, err := e.Message.MarshalMsg(nil)
		if err != nil {
			t.Fatal(err)
		}
		list[fmt.Sprintf("%T %d", e.Message, e.ID)] = rawEnvelope{typ: e.Message.messageType(), body: b}
	}
	names := make([]string, 5000)
	for i := range names {
		names[i] = "tenants"
	}
	b, err := (&CreateKey{Tenants: names}).MarshalMsg(nil)
	if err != nil {
		t.Fatal(err)
	}
	list["short names"] = rawEnvelope{typ: TypeCreateKey, body: b}
	for name, raw := range list {
		cost, err := raw.cost()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		before := heapAllocated()
		for range 20 {
			if _, err := raw.decode(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		// The allocator's counters move in steps of a span.
		if got := int(heapAllocated()-before) / 20; got > cost+16<<10 {
			t.Errorf("%s: %d bytes allocated, said to be %d", name, got, cost)
		}
	}
}

// TestBudget: what is received is paid for, and given back it is all there again.
func TestBudget(t *testing.T) {
	noLeaks(t)
	client, server := unixPair(t, Options{}, Options{})
	p := &purse{limit: 8 << 20}
	server.SetBudget(p)
	receive := func() []Envelope {
		t.Helper()
		envs, err := server.Receive()
		if err != nil {
			t.Fatal(err)
		}
		return envs
	}
	for _, n := range []int{0, 1000, bigBuffer, 3 << 20, 7 << 20} {
		done := make(chan error, 1)
		go func() { done <- client.Send(Envelope{ID: 1, Message: report(1, payload(n, 1))}) }()
		e := receive()[0]
		if used, _ := p.now(); used != e.Cost || e.Cost < n || e.Cost > n+bigBuffer {
			t.Errorf("%d bytes: %d are taken, the message is said to cost %d", n, used, e.Cost)
		}
		p.Give(e.Cost)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	// More than can be had is not decoded, and the connection lives.
	done := make(chan error, 1)
	go func() {
		done <- client.Send(Envelope{ID: 7, Message: raw{&ReportVariableChanges{}, tinyBody(1 << 20)}}, Envelope{ID: 8, Message: &Ping{}})
	}()
	e := receive()[0]
	if o, ok := e.Message.(*Oversized); !ok || e.ID != 7 || e.Cost != 0 || o.Type != TypeReportVariableChanges || o.Cost <= p.limit {
		t.Errorf("came as %+v", e)
	}
	if e := receive()[0]; e.ID != 8 {
		t.Errorf("after it: %+v", e)
	} else {
		p.Give(e.Cost)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if used, most := p.now(); used != 0 || most > p.limit {
		t.Errorf("%d bytes are still taken, %d were at most", used, most)
	}

	shut := errors.New("shut")
	p.shut = shut
	if err := client.Send(Envelope{ID: 9, Message: &Ping{}}); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Receive(); !errors.Is(err, shut) {
		t.Errorf("without a budget: %v", err)
	}
}

// raw is a report with a body of its own.
type raw struct {
	*ReportVariableChanges
	body []byte
}

func (r raw) MarshalMsg(b []byte) ([]byte, error) { return append(b, r.body...), nil }
func (r raw) Msgsize() int                        { return len(r.body) }

// TestManyEnvelopes: however many requests a message has room for, they come a few at a time.
func TestManyEnvelopes(t *testing.T) {
	noLeaks(t)
	client, server := unixPair(t, Options{}, Options{})
	const n = 10 * maxReceived
	envs := make([]Envelope, n)
	for i := range envs {
		envs[i] = Envelope{ID: uint64(i + 1), Message: &Ping{}}
	}
	if err := client.Send(envs...); err != nil {
		t.Fatal(err)
	}
	for next := uint64(1); next <= n; {
		got, err := server.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if len(got) > maxReceived {
			t.Fatalf("%d at once", len(got))
		}
		for _, e := range got {
			if e.ID != next {
				t.Fatalf("request %d, want %d", e.ID, next)
			}
			next++
		}
	}
}
