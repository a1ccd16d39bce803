package integration

import (
	"net"
	"sync"
	"testing"
	"time"
)

// relay is a slow line to a server: what goes through it arrives later, in order, however much it is.
type relay struct {
	l  net.Listener
	to string
	by time.Duration
	wg sync.WaitGroup

	mu    sync.Mutex // guards the following
	conns []net.Conn
}

// newRelay opens a line to the TCP address to, which takes that long each way, and returns its own address.
func newRelay(t testing.TB, to string, by time.Duration) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{l: l, to: to, by: by}
	r.wg.Go(r.accept)
	t.Cleanup(r.close)
	return l.Addr().String()
}

func (r *relay) accept() {
	for {
		from, err := r.l.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", r.to)
		if err != nil {
			from.Close()
			continue
		}
		r.mu.Lock()
		r.conns = append(r.conns, from, to)
		r.mu.Unlock()
		r.pipe(from, to)
		r.pipe(to, from)
	}
}

// pipe carries one direction.
func (r *relay) pipe(from, to net.Conn) {
	type chunk struct {
		data []byte
		due  time.Time
	}
	line := make(chan chunk, 4096)
	r.wg.Go(func() {
		defer close(line)
		for {
			buf := make([]byte, 16<<10)
			n, err := from.Read(buf)
			if n > 0 {
				line <- chunk{buf[:n], time.Now().Add(r.by)}
			}
			if err != nil {
				return
			}
		}
	})
	r.wg.Go(func() {
		defer to.Close()
		for c := range line {
			time.Sleep(time.Until(c.due)) // the line's length: nothing is waited for
			if _, err := to.Write(c.data); err != nil {
				from.Close()
			}
		}
	})
}

func (r *relay) close() {
	r.l.Close()
	r.mu.Lock()
	for _, c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}
