package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// limited starts a server that may have so many descriptors: half of them, until it asks for the rest.
func (h *Host) limited(descriptors int) *Server {
	h.t.Helper()
	s := &Server{Proc: h.StartCommand("sh", "-c", `ulimit -Sn $(($1 / 2)) && ulimit -Hn "$1" && exec "$2" serve`, "sh", strconv.Itoa(descriptors), binary)}
	s.URL = s.WaitLine(readyBound, "listening ")
	return s
}

// descriptors is how many the process has.
func (p *Proc) descriptors() int {
	p.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid()))
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.logs())
	}
	return len(list)
}

// sdk is a program on this host that uses the Go SDK: this one.
func (h *Host) sdk(ctx context.Context) *varsync.Client {
	h.t.Helper()
	c, err := varsync.New(ctx, varsync.Options{
		Dial: func(ctx context.Context) (varsync.Conn, error) {
			conn, err := transport.Dial(ctx, transport.DialOptions{URL: h.Socket()})
			if err != nil {
				return nil, err
			}
			return transport.NewClient(conn, transport.ClientOptions{}), nil
		},
		Client: model.Client{Program: "test"}, Timeout: time.Minute,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// TestManyServices: a server has many times more services than descriptors, all of them mapped by a client.
func TestManyServices(t *testing.T) {
	const services, descriptors, enough = 300, 256, 128
	h := NewHost(t)
	s := h.limited(descriptors)
	ctx, cancel := context.WithTimeout(t.Context(), 2*runBound)
	defer cancel()
	name := func(i int) string { return fmt.Sprint("s", i) }
	c := h.sdk(ctx)
	changes := make([]model.Change, services)
	for i := range changes {
		changes[i] = model.Change{Op: model.OpStore, Tenant: "t", Service: name(i), Name: "v", Data: []byte(name(i)), Create: true, Parents: true}
	}
	if _, err := c.Report(ctx, changes...); err != nil {
		t.Fatal(err, s.logs())
	}
	check := func(c *varsync.Client) {
		t.Helper()
		var wg sync.WaitGroup
		const workers = 8
		for w := range workers {
			wg.Go(func() {
				for i := w; i < services; i += workers {
					if err := loads(ctx, c, name(i), name(i)); err != nil {
						t.Errorf("%s: %v", name(i), err)
						return
					}
				}
			})
		}
		wg.Wait()
		if n := s.descriptors(); n > enough {
			t.Errorf("the server has %d descriptors", n)
		}
		if n := strings.Count(s.stderr.String(), "\n"); n > 50 {
			t.Errorf("the server has logged %d lines", n)
		}
		if t.Failed() {
			t.Fatal(s.logs())
		}
	}
	check(c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s = h.limited(descriptors)
	var lim unix.Rlimit
	if err := unix.Prlimit(s.Pid(), unix.RLIMIT_NOFILE, nil, &lim); err != nil || lim.Cur < descriptors-1 { // the runtime leaves one
		t.Errorf("the server has not raised its limit: %+v, %v", lim, err)
	}
	c = h.sdk(ctx)
	check(c)

	// Connections do not use up what the server itself needs.
	var open []*transport.Conn
	for range descriptors {
		dial, cancel := context.WithTimeout(ctx, time.Second)
		conn, err := transport.Dial(dial, transport.DialOptions{URL: h.Socket()})
		cancel()
		if err != nil {
			break
		}
		open = append(open, conn)
	}
	if len(open) == descriptors {
		t.Errorf("the server has taken %d connections", len(open))
	}
	for i := range 10 {
		if _, err := c.Report(ctx, model.Change{Op: model.OpStore, Tenant: "t", Service: name(i), Name: "v", Data: []byte("new")}); err != nil {
			t.Fatal(err, s.logs())
		}
	}
	for _, conn := range open {
		_ = conn.Close()
	}
	if err := loads(ctx, c, name(7), "new"); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s.Stop()
}

// loads reads variable v of a service, which must be mapped.
func loads(ctx context.Context, c *varsync.Client, service, want string) error {
	svc := c.Tenant("t").Service(service)
	if svc == nil {
		return errors.New("is not there")
	}
	v, err := svc.Variable(ctx, "v")
	if err != nil {
		return err
	}
	data, _, err := v.Load(nil)
	switch {
	case err != nil:
		return err
	case string(data) != want:
		return fmt.Errorf("holds %q, want %q", data, want)
	case !svc.Mapped():
		return errors.New("is not mapped")
	}
	return nil
}
