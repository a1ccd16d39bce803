package transporttest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
	"github.com/commy-project/commyfs/transport/transporttest"
)

// echo answers every request with Done until the connection is over.
func echo(server *transport.Conn) {
	for {
		envs, err := server.Receive()
		if err != nil {
			return
		}
		for _, e := range envs {
			if server.Send(transport.Envelope{ID: e.ID, Message: &transport.Done{}}) != nil {
				return
			}
		}
	}
}

func TestPipe(t *testing.T) {
	for _, memory := range []bool{false, true} {
		conn, server := transporttest.PipeWith(t, transporttest.Options{Memory: memory, APIKey: "k"})
		go echo(server)
		client := transport.NewClient(conn, transport.ClientOptions{})
		if _, err := transport.Request[*transport.Done](t.Context(), client, &transport.Ping{}); err != nil {
			t.Errorf("memory %t: %v", memory, err)
		}
		if conn.Local() == memory || server.Local() == memory {
			t.Errorf("memory %t: local: %t, %t", memory, conn.Local(), server.Local())
		}
		if got := server.Header().Get("Authorization"); got != "Bearer k" {
			t.Errorf("memory %t: authorization %q", memory, got)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		<-server.Done()
	}
}

func TestPipeRefuses(t *testing.T) {
	client, server := transporttest.PipeWith(t, transporttest.Options{Server: transport.Options{MaxMessage: 100}})
	if err := client.Send(transport.Envelope{ID: 1, Message: &transport.RevokeKey{Name: string(make([]byte, 200))}}); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Receive(); !errors.Is(err, model.ErrDisconnected) {
		t.Errorf("got %v, want model.ErrDisconnected: the options are the server's", err)
	}
}

// A day of silence passes at once in a bubble: nothing in a pipe waits for real time.
func TestMemoryPipeInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, server := transporttest.PipeWith(t, transporttest.Options{Memory: true})
		client := transport.NewClient(conn, transport.ClientOptions{})
		go echo(server)
		select {
		case <-client.Done():
			t.Fatal(client.Err())
		case <-time.After(24 * time.Hour):
		}
		if _, err := client.Call(t.Context(), &transport.Ping{}); err != nil {
			t.Error(err)
		}
		_ = client.Close()
	})
}
