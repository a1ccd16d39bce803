package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

const (
	rounds     = 2
	calmTime   = 400 * time.Millisecond
	attackTime = 1200 * time.Millisecond
	// slowest is what a call may take whatever the calm is like: attackers, server and client share two cores and a disk.
	slowest = 250 * time.Millisecond
	// hops is how often a call waits for a processor on its way, in two processes. What the machine has each of them wait,
	// because of what else it does, is not the server's.
	hops = 20
)

// attack is what hostile clients do until ctx ends. It returns when all its connections are closed. A server that refuses
// is part of the game: it goes on.
type attack func(ctx context.Context, v victim)

// attacks are by name, because they run in a process of their own: the attackers' own work, with the lowest priority, is not
// to be mistaken for the server's.
var attacks = map[string]attack{
	"lists":          lists,
	"truncates":      truncates,
	"appends":        appends,
	"unacknowledged": unacknowledged,
	"hello":          hello,
	"tiny elements":  tinyElements,
	"reads":          reads,
	"watches":        watches,
	"stores":         stores,
	"moves":          moves,
}

// withstand has a server attacked and shows that it stays within its limits and goes on serving another client.
func withstand(t *testing.T, name, rights string, prepare func(*good)) {
	t.Helper()
	s := start(t)
	v := s.victim(s.key("bad", rights))
	g := s.good(s.key("good", "read,write,create,delete"))
	if err := g.report(store("good", "v", []byte("0"))); err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(g)
	}
	var calm, hit, late []time.Duration
	for range rounds {
		calls, _ := s.measure(g, calmTime)
		calm = append(calm, calls)
		end := v.attacked(t, name)
		calls, wakes := s.measure(g, attackTime)
		hit, late = append(hit, calls), append(late, wakes)
		s.status()
		end()
	}
	state := s.stateSize()
	t.Logf("p99 %v, under attack %v (a wake-up: %v); %d MiB in use, state directory of %d MiB", calm, hit, late, s.resident.Load()>>20, state>>20)
	if !s.alive() {
		t.Fatal("the server has died")
	}
	// The better round counts: a disk that stops for a moment spoils one.
	if bound := max(2*slices.Max(calm), slowest) + hops*slices.Max(late); slices.Min(hit) > bound {
		t.Errorf("a call takes %v under attack and %v without, at most %v are fine", hit, calm, bound)
	}
	memory, limit := int64(residentLimit), int64(stateLimit)
	if name == "stores" {
		memory, limit = storingLimit, storedLimit
	}
	if n := s.resident.Load(); n > memory {
		t.Errorf("%d MiB of memory in use, at most %d are fine", n>>20, memory>>20)
	}
	if state > limit {
		t.Errorf("the state directory takes %d MiB, at most %d are fine", state>>20, limit>>20)
	}
}

// measure has the good client work for so long. It returns how long 99 of 100 calls took at most, and by how much 99 of 100
// sleeps between them were too long: that is the machine's doing alone.
func (s *server) measure(g *good, long time.Duration) (calls, wakes time.Duration) {
	s.t.Helper()
	var times, late []time.Duration
	for begin := time.Now(); time.Since(begin) < long; {
		before := time.Now()
		err := g.report(store("good", "v", fmt.Append(nil, before.UnixNano())))
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), callBound)
			_, err = transport.Request[*transport.VariableData](ctx, g.cl, &transport.ReadVariable{Tenant: "t", Service: "good", Name: "v"})
			cancel()
		}
		if err != nil {
			s.t.Fatalf("the other client: %v after %v", err, time.Since(before))
		}
		times = append(times, time.Since(before))
		before = time.Now()
		time.Sleep(time.Millisecond) // it is modest
		late = append(late, time.Since(before)-time.Millisecond)
	}
	slices.Sort(times)
	slices.Sort(late)
	return times[len(times)*99/100], late[len(late)*99/100]
}

// status is what the owner does to see what is going on.
func (s *server) status() {
	s.t.Helper()
	out, err := s.command("status", "--output", "json").Output()
	var st struct{ Connected bool }
	if err == nil {
		err = json.Unmarshal(out, &st)
	}
	if err != nil || !st.Connected {
		s.t.Errorf("status: %v: %.300s", err, out)
	}
}

// clients runs n hostile clients. Each does its deed on one connection after the other, until it fails or ctx ends.
func clients(ctx context.Context, v victim, n int, deed func(conn *transport.Conn) error) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				conn, err := v.dial(ctx)
				if err == nil {
					stop := context.AfterFunc(ctx, func() { conn.Fail(ctx.Err()) })
					_ = deed(conn)
					stop()
					_ = conn.Close()
				}
				pause(ctx)
			}
		})
	}
	wg.Wait()
}

func pause(ctx context.Context) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
}

// deaf sends requests and takes no answer, until the connection or ctx ends.
func deaf(conn *transport.Conn, n int, request func(i uint64) transport.Message) error {
	for i := range uint64(n) {
		if err := conn.Send(transport.Envelope{ID: i + 2, Message: request(i)}); err != nil {
			return err
		}
	}
	<-conn.Done()
	return nil
}

// hearing sends requests as fast as answers come, with so many on their way.
func hearing(conn *transport.Conn, window int, request func(i uint64) transport.Message) error {
	cl := transport.NewClient(conn, transport.ClientOptions{})
	defer cl.Close()
	slots := make(chan struct{}, window)
	for i := uint64(0); ; i++ {
		select {
		case slots <- struct{}{}:
		case <-cl.Done():
			return cl.Err()
		}
		if err := cl.Start(context.Background(), request(i), func(transport.Message, error) { <-slots }); err != nil {
			return err
		}
	}
}

const writer = "read,write,create,delete"

// crowd fills a service with small variables.
func crowd(t *testing.T, service string, n int) func(*good) {
	return func(g *good) {
		t.Helper()
		for n > 0 {
			var changes []model.Change
			for ; n > 0 && len(changes) < 500; n-- {
				changes = append(changes, store(service, fmt.Sprintf("directory/variable-%06d", n), []byte("x")))
			}
			if err := g.report(changes...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestLists: a client with the right to read asks for everything a thousand times, and takes none of it.
func TestLists(t *testing.T) { withstand(t, "lists", "read", crowd(t, "crowd", 20_000)) }

func lists(ctx context.Context, v victim) {
	clients(ctx, v, 4, func(conn *transport.Conn) error {
		return deaf(conn, 1020, func(uint64) transport.Message { return &transport.List{Recursive: true} })
	})
}

// TestTruncates: reports of a thousand changes, each of which makes a value of a megabyte.
func TestTruncates(t *testing.T) {
	withstand(t, "truncates", writer, func(g *good) {
		if err := g.report(store("s", "big", make([]byte, 1<<20))); err != nil {
			t.Fatal(err)
		}
	})
}

func truncates(ctx context.Context, v victim) {
	report := transport.ReportVariableChanges{}
	for i := range int64(1000) {
		report.Changes = append(report.Changes, model.Change{Op: model.OpTruncate, Tenant: "t", Service: "s", Name: "big", Size: 1<<20 - i%2})
	}
	clients(ctx, v, 4, func(conn *transport.Conn) error {
		return hearing(conn, 14, func(i uint64) transport.Message {
			r := report
			r.Seq, r.Acked = i+1, i+1-min(i, 13)
			return &r
		})
	})
}

// TestAppends: the same by appending, a byte each to a value near the limit.
func TestAppends(t *testing.T) { withstand(t, "appends", writer, nil) }

func appends(ctx context.Context, v victim) {
	tail := model.Change{Op: model.OpAppend, Tenant: "t", Service: "s", Name: "big", Data: []byte("x"), Create: true, Parents: true}
	changes := append([]model.Change{store("s", "big", make([]byte, 1<<20-1000))}, slices.Repeat([]model.Change{tail}, 999)...)
	clients(ctx, v, 4, func(conn *transport.Conn) error {
		return hearing(conn, 14, func(i uint64) transport.Message {
			return &transport.ReportVariableChanges{Seq: i + 1, Acked: i + 1 - min(i, 13), Changes: changes}
		})
	})
}

// TestUnacknowledged: a client that never says that it has the answers.
func TestUnacknowledged(t *testing.T) { withstand(t, "unacknowledged", writer, nil) }

func unacknowledged(ctx context.Context, v victim) {
	clients(ctx, v, 2, func(conn *transport.Conn) error {
		return hearing(conn, 64, func(i uint64) transport.Message {
			r := &transport.ReportVariableChanges{Seq: i + 1}
			for k := range 20 {
				r.Changes = append(r.Changes, store("s", fmt.Sprint("v", k), fmt.Append(nil, i)))
			}
			return r
		})
	})
}

// TestHello: clients with names of megabytes.
func TestHello(t *testing.T) { withstand(t, "hello", "read", nil) }

func hello(ctx context.Context, v victim) {
	name := string(make([]byte, 4<<20))
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for ctx.Err() == nil {
				conn, err := v.connect(ctx)
				if err == nil {
					stop := context.AfterFunc(ctx, func() { conn.Fail(ctx.Err()) })
					hello := &transport.Hello{ID: fmt.Appendf(nil, "%016d", i), Program: name, Version: name, Host: name, Mount: name}
					if conn.Send(transport.Envelope{ID: 1, Message: hello}) == nil {
						for err == nil {
							_, err = conn.Receive()
						}
					}
					stop()
					_ = conn.Close()
				}
				pause(ctx)
			}
		})
	}
	wg.Wait()
}

// TestTinyElements: messages as long as they can be, of elements as small as they can be.
func TestTinyElements(t *testing.T) { withstand(t, "tiny elements", writer, nil) }

func tinyElements(ctx context.Context, v victim) {
	body := tinyBody(16 << 20)
	clients(ctx, v, 4, func(conn *transport.Conn) error {
		return deaf(conn, 12, func(uint64) transport.Message { return raw{&transport.ReportVariableChanges{}, body} })
	})
}

// TestReads: a client asks for a large value a thousand times, each time another one, and takes none of them.
func TestReads(t *testing.T) { withstand(t, "reads", writer, nil) }

func reads(ctx context.Context, v victim) {
	clients(ctx, v, 4, func(conn *transport.Conn) error {
		return deaf(conn, 500, func(i uint64) transport.Message {
			if i%2 == 1 {
				return &transport.ReadVariable{Tenant: "t", Service: "s", Name: "big"}
			}
			value := make([]byte, 1<<20)
			binary.LittleEndian.PutUint64(value, i)
			return &transport.ReportVariableChanges{Seq: i + 1, Acked: i + 1, Changes: []model.Change{store("s", "big", value)}}
		})
	})
}

// TestWatches: a client begins and ends a watch of all that there is a thousand times, and takes no answer.
func TestWatches(t *testing.T) { withstand(t, "watches", "read", crowd(t, "crowd", 20_000)) }

func watches(ctx context.Context, v victim) {
	clients(ctx, v, 4, func(conn *transport.Conn) error {
		return deaf(conn, 1020, func(i uint64) transport.Message {
			switch id := i%50 + 1024; i % 3 { // ids are given one after the other
			case 0:
				return &transport.WatchTree{}
			case 1:
				return &transport.Watch{Service: id, Values: true}
			default:
				return &transport.Unwatch{Service: id}
			}
		})
	})
}

// TestStores: values as large as they can be, as many as are taken.
func TestStores(t *testing.T) { withstand(t, "stores", writer, nil) }

func stores(ctx context.Context, v victim) {
	clients(ctx, v, 2, func(conn *transport.Conn) error {
		return hearing(conn, 64, func(i uint64) transport.Message {
			value := make([]byte, 1<<20)
			binary.LittleEndian.PutUint64(value, i)
			return &transport.ReportVariableChanges{Seq: i + 1, Acked: i + 1 - min(i, 63), Changes: []model.Change{store("s", fmt.Sprint("v", i%8), value)}}
		})
	})
}

// raw is a report with a body of its own.
type raw struct {
	*transport.ReportVariableChanges
	body []byte
}

func (r raw) MarshalMsg(b []byte) ([]byte, error) { return append(b, r.body...), nil }
func (r raw) Msgsize() int                        { return len(r.body) }

// tinyBody is the body of a report with as many ranges as fit into size bytes: empty maps, a byte each, a thousand in each
// change.
func tinyBody(size int) []byte {
	change := append([]byte{0x81, 0xa2, 'r', 'g', 0xdc, 0x04, 0x00}, bytes.Repeat([]byte{0x80}, 1024)...)
	n := size / len(change)
	body := binary.BigEndian.AppendUint32([]byte{0x81, 0xa1, 'c', 0xdd}, uint32(n))
	return append(body, bytes.Repeat(change, n)...)
}
