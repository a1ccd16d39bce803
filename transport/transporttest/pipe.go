// Package transporttest makes pairs of connected connections for tests of other packages. They run the whole protocol,
// handshake included, without a listener.
package transporttest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/transport"
)

// Options set up a pair. The zero value is usable.
type Options struct {
	Client transport.Options
	Server transport.Options
	// APIKey is what the client sends. Default: none.
	APIKey string
	// Memory connects the two by net.Pipe in place of a socket pair: it works in a testing/synctest bubble, but
	// holds nothing, so that a write waits for the other side's read, and is not Local.
	Memory bool
}

// PipeWith returns two connected connections over a Unix socket pair. They are closed when the test ends.
func PipeWith(t testing.TB, o Options) (client, server *transport.Conn) {
	t.Helper()
	near, far, err := streams(o.Memory)
	if err != nil {
		t.Fatalf("pipe: %v", err)
	}
	type accepted struct {
		conn *transport.Conn
		err  error
	}
	result := make(chan accepted, 1)
	go func() {
		c, err := accept(far, o.Server)
		result <- accepted{c, err}
	}()
	dial := transport.DialOptions{
		URL:     "ws://localhost",
		APIKey:  o.APIKey,
		NetDial: func(context.Context, string, string) (net.Conn, error) { return near, nil },
		Options: o.Client,
	}
	client, err = transport.Dial(context.Background(), dial)
	if err != nil {
		_ = near.Close()
	}
	a := <-result
	if err != nil || a.err != nil {
		t.Fatalf("pipe: client: %v, server: %v", err, a.err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		_ = a.conn.Close()
	})
	return client, a.conn
}

func streams(memory bool) (near, far net.Conn, err error) {
	if memory {
		near, far = net.Pipe()
		return near, far, nil
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pipe")
		c, cerr := net.FileConn(f)
		_ = f.Close()
		if cerr != nil {
			err = cerr
		}
		ends[i] = c
	}
	return ends[0], ends[1], err
}

// accept reads the handshake as an http.Server would.
func accept(c net.Conn, o transport.Options) (*transport.Conn, error) {
	br := bufio.NewReader(c)
	req, err := http.ReadRequest(br)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	req = req.WithContext(transport.ConnContext(req.Context(), c))
	w := &response{conn: c, rw: bufio.NewReadWriter(br, bufio.NewWriter(c)), header: http.Header{}}
	conn, err := transport.Upgrade(w, req, transport.AcceptOptions{Options: o})
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("%w (%d %s)", err, w.status, bytes.TrimSpace(w.body.Bytes()))
	}
	return conn, nil
}

// response is an http.ResponseWriter that can be hijacked and keeps what is written instead.
type response struct {
	conn   net.Conn
	rw     *bufio.ReadWriter
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *response) Header() http.Header         { return r.header }
func (r *response) WriteHeader(status int)      { r.status = status }
func (r *response) Write(p []byte) (int, error) { return r.body.Write(p) }

// Hijack hands over the stream.
func (r *response) Hijack() (net.Conn, *bufio.ReadWriter, error) { return r.conn, r.rw, nil }
