package transport

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/commy-project/commyfs/model"
)

// Conn is one connection, either end. Send is for any number of goroutines, Receive for one at a time.
type Conn struct {
	ws    *websocket.Conn
	net   *netConn
	opts  Options
	peer  *Peer
	local bool
	head  http.Header
	// socket is the path of the Unix socket that was dialled, else "".
	socket string

	out sender
	in  receiver

	pong    chan string  // pings to answer; the heartbeat does it, so that reading never waits for writing
	waiting atomic.Int64 // by net's clock, since when Receive waits, 0 if it does not
	silence *time.Timer
	wg      sync.WaitGroup

	draining sync.Once
	drain    *time.Timer // see sendFailed

	failing sync.Once
	done    chan struct{}
	err     error // why the connection is over; set before done is closed
}

func newConn(ws *websocket.Conn, nc *netConn, opts Options, peer *Peer, local bool, head http.Header) *Conn {
	c := &Conn{
		ws: ws, net: nc, opts: opts, peer: peer, local: local, head: head,
		pong: make(chan string, 1),
		done: make(chan struct{}),
	}
	c.out.wake = make(chan struct{}, 1)
	nc.patient.Store(false)
	ws.SetReadLimit(int64(opts.MaxMessage))
	ws.SetPingHandler(func(data string) error {
		select {
		case c.pong <- data:
		default:
		}
		return nil
	})
	if opts.Silence > 0 {
		c.watchSilence()
	}
	c.wg.Go(c.heartbeatLoop)
	return c
}

// Local reports whether the other end is reached over a Unix socket, and so is on the same host.
func (c *Conn) Local() bool { return c.local }

// Peer returns who is at the other end of a Unix socket, as the kernel says. ok is false on other connections.
func (c *Conn) Peer() (p Peer, ok bool) {
	if c.peer == nil {
		return Peer{}, false
	}
	return *c.peer, true
}

// Header returns the header of the request that opened the connection, at the accepting end; nil at the other.
func (c *Conn) Header() http.Header { return c.head }

// RemoteAddr returns the other end's address: host:port, "@" or a path for Unix sockets.
func (c *Conn) RemoteAddr() net.Addr { return c.net.RemoteAddr() }

// LastReceived returns when something was last received, pings included.
func (c *Conn) LastReceived() time.Time { return c.net.began.Add(time.Duration(c.net.received.Load())) }

// PeerClosed reports, of a connection that is over, whether that is because the peer has closed it, or its host has.
func (c *Conn) PeerClosed() bool { return c.net.closed.Load() }

// Done is closed when the connection is over; Err then says why.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns nil while the connection works, then why it is over: an error that matches [model.ErrDisconnected] and, where
// the peer gave a reason with CloseWith, that reason first.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Fail ends the connection at once, without a word to the peer. It may be called from anywhere, also from handlers.
func (c *Conn) Fail(err error) {
	c.failing.Do(func() {
		if !errors.Is(err, model.ErrDisconnected) {
			err = fmt.Errorf("%w: %w", model.ErrDisconnected, err)
		}
		c.err = err
		close(c.done)
		c.net.abort()
		c.opts.Logger.Debug("connection is over", "remote", c.net.RemoteAddr(), "err", err)
	})
}

// Close tells the peer, if it listens, ends the connection and waits for its goroutines; Receive returns an error.
// It is idempotent.
func (c *Conn) Close() error {
	c.close(websocket.CloseNormalClosure, "")
	return nil
}

// CloseWith is Close with a reason, which the peer's Receive returns.
func (c *Conn) CloseWith(reason *model.Error) {
	c.close(closeCodeBase+int(reason.Code), reason.Message)
}

const (
	// closeCodeBase begins the close codes that carry a Code; RFC 6455 leaves 4000 and up to applications.
	closeCodeBase = 4000
	// closeWait bounds how long Close waits for a message that is being written.
	closeWait   = 250 * time.Millisecond
	closeReason = 123 // bytes of text that a close frame has room for
)

var errClosed = fmt.Errorf("%w: connection closed: %w", model.ErrDisconnected, net.ErrClosed)

func (c *Conn) close(code int, reason string) {
	if c.Err() == nil {
		reason = strings.ToValidUTF8(reason[:min(len(reason), closeReason)], "") // or the peer refuses the frame
		// A peer that takes nothing must not hold us up: what is left of the deadline is the raw connection's.
		stop := time.AfterFunc(closeWait, func() { c.Fail(errClosed) })
		_ = c.patiently(func() error {
			return c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(closeWait))
		})
		stop.Stop()
	}
	c.Fail(errClosed)
	if c.silence != nil {
		c.silence.Stop()
	}
	c.draining.Do(func() {}) // c.drain is set now or never will be
	if c.drain != nil {
		c.drain.Stop()
	}
	c.wg.Wait()
}
