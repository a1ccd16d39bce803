package transport

import (
	"net"
	"sync/atomic"
	"time"
)

const writeChunk = 256 << 10

// netConn is the byte stream below the WebSocket. It notes when bytes arrive, and gives each piece that is written its
// own deadline: a slow peer may take long for a large message, one that takes nothing may not.
type netConn struct {
	net.Conn
	raw          net.Conn // what is below TLS, else Conn itself
	writeTimeout time.Duration
	received     atomic.Int64 // Unix nanoseconds
	broken       atomic.Bool  // a write has failed
}

func newNetConn(c net.Conn, writeTimeout time.Duration) *netConn {
	n := &netConn{Conn: c, raw: c, writeTimeout: writeTimeout}
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		n.raw = t.NetConn()
	}
	n.received.Store(time.Now().UnixNano())
	return n
}

func (n *netConn) Read(p []byte) (int, error) {
	k, err := n.Conn.Read(p)
	if k > 0 {
		n.received.Store(time.Now().UnixNano())
	}
	return k, err
}

func (n *netConn) Write(p []byte) (int, error) {
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
