package main

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/commy-project/commyfs/internal/testenv"
)

// A writer of the bare fan-out has its answer when every watcher has been sent what it wrote.
func TestServeFan(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveFan(ctx, socket) }()
	dial := func(kind byte) net.Conn {
		var conn net.Conn
		testenv.Eventually(t, 10*time.Second, func() (err error) {
			conn, err = net.Dial("unix", socket)
			return err
		})
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte{kind}); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	var watchers [3]net.Conn
	for i := range watchers {
		watchers[i] = dial('w')
		if _, err := io.ReadFull(watchers[i], make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	a, b := dial('p'), dial('p')
	for n := range byte(20) {
		for _, w := range []net.Conn{a, b} {
			buf := make([]byte, eventSize)
			buf[0] = n
			if err := thereAndBack(w, buf); err != nil || buf[0] != n {
				t.Fatalf("answer %d, error %v", buf[0], err)
			}
		}
	}
	for _, w := range watchers {
		buf := make([]byte, eventSize)
		for n := range 40 {
			if _, err := io.ReadFull(w, buf); err != nil || int(buf[0]) != n/2 {
				t.Fatalf("message %d is %d, error %v", n, buf[0], err)
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
