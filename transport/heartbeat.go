package transport

import (
	"fmt"
	"time"

	"github.com/gorilla/websocket"

	"github.com/commy-project/commyfs/model"
)

// heartbeatLoop sends the pings by which the peer sees that we are alive, and answers the peer's.
func (c *Conn) heartbeatLoop() {
	var tick <-chan time.Time
	if c.opts.Heartbeat > 0 {
		t := time.NewTicker(c.opts.Heartbeat)
		defer t.Stop()
		tick = t.C
	}
	for {
		kind, data := websocket.PingMessage, ""
		select {
		case <-c.done:
			return
		case data = <-c.pong:
			kind = websocket.PongMessage
		case <-tick:
		}
		// To wait behind a message that is being written is no failure: the bytes of that message are a sign of life as good as
		// this one.
		err := c.patiently(func() error {
			return c.ws.WriteControl(kind, []byte(data), time.Now().Add(c.opts.WriteTimeout))
		})
		if err != nil && c.net.broken.Load() {
			_ = c.sendFailed(err) // ends the connection, which is all there is to do
			return
		}
	}
}

// watchSilence arms the timer that closes the connection when Receive has waited for Options.Silence and received nothing. Time
// outside Receive does not count, since it says nothing about the peer. The timer is reset only when it fires, so that receiving
// costs no timer operation.
func (c *Conn) watchSilence() {
	armed := make(chan struct{})
	c.silence = time.AfterFunc(c.opts.Silence, func() {
		<-armed
		if c.Err() != nil {
			return
		}
		var idle time.Duration
		if since := c.waiting.Load(); since != 0 {
			idle = time.Duration(c.net.now() - max(since, c.net.received.Load()))
		}
		if idle < c.opts.Silence {
			c.silence.Reset(c.opts.Silence - idle)
			return
		}
		c.Fail(fmt.Errorf("%w: nothing received for %s", model.ErrDisconnected, c.opts.Silence))
	})
	close(armed)
}
