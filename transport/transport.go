// Package transport carries commyfs's protocol v2 between clients and the server: typed messages in envelopes, envelopes
// in WebSocket messages, over a Unix socket or TLS 1.3.
//
// What a user of the package can rely on:
//
//   - Order. Whatever one side sends, the other side receives in the order of the [Conn.Send] calls. A [Client] handles
//     what it receives one after the other on one goroutine: when a push was sent before a reply, its handler has
//     returned before the reply's waiter wakes.
//   - A message that was received owns its bytes: its []byte fields may be kept and are never written again. They share
//     one buffer per message, so keeping a few bytes of a large one keeps all of it.
//   - A connection works or is over. Any failure (the peer is silent or stuck, a malformed frame) ends it for good; every
//     waiter gets an error that matches [model.ErrDisconnected]. Nothing here reconnects or resends.
//   - No input of a peer makes decoding panic or allocate more than about forty times the bytes it sent.
//
// A client does
//
//	conn, err := transport.Dial(ctx, transport.DialOptions{URL: "unix:///run/commyfs/server.sock"})
//	client := transport.NewClient(conn, transport.ClientOptions{OnPush: handle})
//	welcome, err := transport.Request[*transport.Welcome](ctx, client, &transport.Hello{...})
//
// and a server listens with [ListenUnix] or TLS ([ServerTLS]), serves HTTP with [ConnContext], and turns requests into
// connections with [Upgrade]. The text of the protocol is docs/protocol.md.
package transport

import (
	"log/slog"
	"time"
)

// Subprotocol is what both sides name in the WebSocket handshake.
const Subprotocol = "commy.v2"

const (
	defaultMaxMessage   = 16<<20 + 1<<20 // the largest value a server can be set to, and what surrounds it
	defaultHeartbeat    = 5 * time.Second
	defaultSilence      = 15 * time.Second
	defaultWriteTimeout = 30 * time.Second
)

// Options are what both ends of a connection can set. The zero value is usable.
type Options struct {
	// MaxMessage bounds one envelope and one WebSocket message, in bytes. Default: 17 MiB.
	MaxMessage int
	// Heartbeat is the time between pings. Default: 5 s; negative: none.
	Heartbeat time.Duration
	// Silence ends the connection when Receive has waited for so long and nothing came, not even a ping. It must be a
	// few times the peer's Heartbeat. Default: 15 s; negative: never.
	Silence time.Duration
	// WriteTimeout ends the connection when the peer takes nothing of what is written for so long. Default: 30 s.
	WriteTimeout time.Duration
	// Logger gets what happens to connections, at Debug. Default: discard.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.MaxMessage <= 0 {
		o.MaxMessage = defaultMaxMessage
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = defaultHeartbeat
	}
	if o.Silence == 0 {
		o.Silence = defaultSilence
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = defaultWriteTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
