package transport

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const writeChunk = 256 << 10

// netConn is the byte stream below the WebSocket. It notes when bytes arrive, and gives each piece that is written its
// own deadline: a slow peer may take long for a large message, one that takes nothing may not.
type netConn struct {
	net.Conn
	raw          net.Conn // what is below TLS, else Conn itself
	writeTimeout time.Duration
	began        time.Time    // when its clock began, which nobody sets
	received     atomic.Int64 // by that clock
	closed       atomic.Bool  // by the peer
	broken       atomic.Bool  // a write has failed

	direct *directWriter // nil: there is TLS, or no socket, and Write always waits for the peer
	// patient: Write may wait for the peer. Else it leaves to drain what the kernel does not take at once.
	patient atomic.Bool

	mu   sync.Mutex // held while writing; guards the following, and direct
	rest []byte     // what was left
}

func newNetConn(c net.Conn, writeTimeout time.Duration) *netConn {
	n := &netConn{Conn: c, raw: c, writeTimeout: writeTimeout}
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		n.raw = t.NetConn()
	}
	if n.raw == c {
		n.direct = newDirectWriter(c)
	}
	n.patient.Store(true) // until the handshake is over
	n.began = time.Now().Add(-time.Nanosecond)
	n.received.Store(n.now())
	return n
}

// now is the time by the connection's clock, > 0.
func (n *netConn) now() int64 { return int64(time.Since(n.began)) }

func (n *netConn) Read(p []byte) (int, error) {
	k, err := n.Conn.Read(p)
	if k > 0 {
		n.received.Store(n.now())
	}
	if err != nil {
		n.failed(err)
	}
	return k, err
}

// failed notes it if it is the peer that has closed the connection, or its host for a process that has ended.
func (n *netConn) failed(err error) {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			n.closed.Store(true)
		}
	}
}

func (n *netConn) Write(p []byte) (int, error) {
	if n.direct == nil {
		return n.write(p)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	patient := n.patient.Load()
	if patient {
		if err := n.drainLocked(); err != nil {
			return 0, err
		}
	}
	done := 0
	if len(n.rest) == 0 {
		var err error
		if done, err = n.direct.write(p); err != nil {
			n.broken.Store(true)
			n.failed(err)
			return done, err
		}
	}
	if !patient {
		n.rest = append(n.rest, p[done:]...)
		return len(p), nil
	}
	if done == len(p) {
		return done, nil
	}
	k, err := n.write(p[done:])
	return done + k, err
}

// drain writes what was left, and waits for the peer to take it.
func (n *netConn) drain() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.drainLocked()
}

func (n *netConn) drainLocked() error {
	if len(n.rest) == 0 {
		return nil
	}
	_, err := n.write(n.rest)
	n.rest = nil
	return err
}

// left reports whether there is something for drain to do.
func (n *netConn) left() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.rest) > 0
}

func (n *netConn) write(p []byte) (int, error) {
	done := 0
	for {
		end := min(done+writeChunk, len(p))
		err := n.Conn.SetWriteDeadline(time.Now().Add(n.writeTimeout))
		if err == nil {
			var k int
			k, err = n.Conn.Write(p[done:end])
			done += k
		}
		if err != nil {
			n.broken.Store(true)
			n.failed(err)
			return done, err
		}
		if done == len(p) {
			return done, nil
		}
	}
}

// SetWriteDeadline is ignored: gorilla sets one for a whole message, Write for each piece.
func (n *netConn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline sets the read deadline only; see SetWriteDeadline.
func (n *netConn) SetDeadline(t time.Time) error { return n.Conn.SetReadDeadline(t) }

// abort ends all reads and writes at once; closing a TLS connection properly could wait for a stuck peer.
func (n *netConn) abort() { _ = n.raw.Close() }

// directWriter writes to a socket what the kernel takes at once.
type directWriter struct {
	raw syscall.RawConn
	try func(fd uintptr) // made once: it would be allocated for each write

	// of the write that is under way
	p   []byte
	n   int
	err error
}

func newDirectWriter(c net.Conn) *directWriter {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	w := &directWriter{raw: raw}
	w.try = func(fd uintptr) {
		for {
			w.n, w.err = syscall.Write(int(fd), w.p) // package net has made it non-blocking
			if w.err != syscall.EINTR {
				return
			}
		}
	}
	return w
}

// write returns how many bytes the kernel has taken. That it takes none is no error.
func (w *directWriter) write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	w.p = p
	err := w.raw.Control(w.try)
	n := w.n
	if err == nil {
		err = w.err
	}
	w.p, w.n, w.err = nil, 0, nil
	if err == syscall.EAGAIN {
		return 0, nil
	}
	return max(n, 0), err
}
