package transport_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
	"github.com/commy-project/commyfs/transport/transporttest"
)

// Time in these tests is the bubble's.

const silence = 15 * time.Second // the default

// receive keeps receiving until the connection is over, and says when that was.
func receive(c *transport.Conn) <-chan time.Time {
	over := make(chan time.Time, 1)
	go func() {
		for {
			if _, err := c.Receive(); err != nil {
				over <- time.Now()
				return
			}
		}
	}()
	return over
}

// One side's pings are enough for both, since they are answered.
func TestHeartbeatsKeepAlive(t *testing.T) {
	quiet := transport.Options{Heartbeat: -1}
	for name, o := range map[string]transporttest.Options{
		"both ping":   {},
		"client only": {Server: quiet},
		"server only": {Client: quiet},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o.Memory = true
				client, server := transporttest.PipeWith(t, o)
				a, b := receive(client), receive(server)
				select {
				case <-a:
					t.Errorf("client: %v", client.Err())
				case <-b:
					t.Errorf("server: %v", server.Err())
				case <-time.After(24 * time.Hour):
				}
				for name, c := range map[string]*transport.Conn{"client": client, "server": server} {
					if ago := time.Since(c.LastReceived()); ago > 6*time.Second {
						t.Errorf("%s last received something %s ago", name, ago)
					}
				}
			})
		})
	}
}

func TestSilenceEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet := transport.Options{Heartbeat: -1}
		client, _ := transporttest.PipeWith(t, transporttest.Options{Memory: true, Client: quiet, Server: quiet})
		start := time.Now()
		if took := (<-receive(client)).Sub(start); took != silence || !errors.Is(client.Err(), model.ErrDisconnected) {
			t.Errorf("over after %s: %v", took, client.Err())
		}
	})
}

// A receiver that is busy with what it got must not take its peer for dead: it did not look. Once it looks, the time
// counts from there.
func TestSilenceCountsOnlyWhileReceiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet := transport.Options{Heartbeat: -1}
		client, _ := transporttest.PipeWith(t, transporttest.Options{Memory: true, Client: quiet, Server: quiet})
		<-time.After(10*silence + time.Second)
		if err := client.Err(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if took := (<-receive(client)).Sub(start); took < silence || took > 2*silence {
			t.Errorf("over after %s", took)
		}
	})
}

// Close does not wait for a peer that takes nothing, though the peer's own deadline is far away.
func TestCloseOfStuckPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := transporttest.PipeWith(t, transporttest.Options{Memory: true}) // a write waits for a reader
		start := time.Now()
		_ = client.Close()
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %s", took)
		}
	})
}
