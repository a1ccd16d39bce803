package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// dialer makes the connections of a command, again and again for those that live long.
type dialer struct {
	a     *app
	o     *common
	log   *slog.Logger
	good  atomic.Int64 // which URL answered last
	again atomic.Bool  // there was a connection before
}

// dial connects to the first server that answers, beginning with the one that did before. The local server is started if
// it does not run.
func (d *dialer) dial(ctx context.Context) (*transport.Conn, error) {
	if d.o.isLocal() {
		conn, err := local.Dial(ctx, d.localOptions())
		d.again.CompareAndSwap(false, err == nil)
		return conn, err
	}
	return d.dialServers(ctx)
}

// session is dial for a client.
func (d *dialer) session(ctx context.Context) (varsync.Conn, error) {
	conn, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	return transport.NewClient(conn, transport.ClientOptions{}), nil
}

// connect is dial for commands that start no server.
func (d *dialer) connect(ctx context.Context) (*transport.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.timeout)
	defer cancel()
	if d.o.isLocal() {
		conn, err := local.Connect(ctx, d.localOptions())
		if local.IsAbsent(err) {
			err = fmt.Errorf("no server is running: %w", err)
		}
		return conn, err
	}
	return d.dialServers(ctx)
}

func (d *dialer) dialServers(ctx context.Context) (*transport.Conn, error) {
	key, err := d.o.apiKey(d.a)
	if err == nil {
		err = d.o.checkFiles()
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	first := int(d.good.Load())
	for i := range d.o.server {
		n := (first + i) % len(d.o.server)
		conn, err := transport.Dial(ctx, transport.DialOptions{URL: d.o.server[n], CAFile: d.o.ca, CertFile: d.o.cert, KeyFile: d.o.key,
			APIKey: key, Timeout: d.o.timeout, Options: d.transport()})
		if err == nil {
			d.good.Store(int64(n))
			return conn, nil
		}
		if errors.Is(err, model.ErrInvalid) {
			return nil, usagef("%s", strings.Replace(err.Error(), model.ErrInvalid.Message+": ", "", 1))
		}
		var unknown x509.UnknownAuthorityError
		switch {
		case errors.Is(err, model.ErrUnauthorized):
			err = fmt.Errorf("%w: %s", err, keyHint(key))
		case errors.As(err, &unknown) && d.o.ca == "":
			err = fmt.Errorf("%w: if its certificate is self-signed, use --ca with the ca.pem that `commyfs serve` prints", err)
		}
		errs = append(errs, err)
		if code := model.CodeOf(err); code != model.CodeDisconnected && code != model.CodeUnavailable {
			break // the others would say the same
		}
	}
	return nil, errors.Join(errs...)
}

func keyHint(key string) string {
	if key == "" {
		return "use --api-key-file to give an API key"
	}
	return "the server does not know this API key: run `commyfs key list` there to see which it knows"
}

func (d *dialer) transport() transport.Options {
	return transport.Options{Heartbeat: d.o.timeout / 3, Silence: d.o.timeout, Logger: d.log}
}

func (d *dialer) localOptions() local.Options {
	o := local.Options{StateDir: d.o.state, RuntimeDir: d.o.runtime, Env: publicEnviron(), Transport: d.transport(), Logger: d.log,
		Reconnect: d.again.Load()}
	if level := d.o.level.value; level != "" {
		o.Args = []string{"--log-level", level}
	}
	return o
}

// publicEnviron is the environment without what is meant for this command, secrets first of all.
func publicEnviron() []string {
	var out []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "COMMYFS_") {
			out = append(out, e)
		}
	}
	return out
}

func hello(program string) model.Client {
	host, _ := os.Hostname() // for show
	return model.Client{Program: program, Version: currentVersion(), Pid: os.Getpid(), Host: host}
}

// client connects as the named program, for commands that name what they want.
func (a *app) client(ctx context.Context, o *common, program string) (*varsync.Client, error) {
	d, err := a.dialer(o)
	if err != nil {
		return nil, err
	}
	return varsync.New(ctx, varsync.Options{Dial: d.session, Client: hello(program), Timeout: o.timeout, NoTree: true, NoMap: true, Logger: d.log})
}

func (a *app) dialer(o *common) (*dialer, error) {
	if err := o.resolve(a); err != nil {
		return nil, err
	}
	return &dialer{a: a, o: o, log: o.logger(a.stderr, slog.LevelWarn)}, nil
}

// withClient connects, runs f and says goodbye.
func (a *app) withClient(ctx context.Context, o *common, program string, f func(*varsync.Client) error) error {
	c, err := a.client(ctx, o, program)
	if err != nil {
		return err
	}
	err = f(c)
	return errors.Join(err, c.Close())
}

// connection is one connection that is not mended, with its hello said, for commands that only ask.
func (a *app) connection(ctx context.Context, o *common, program string) (*transport.Client, *model.Welcome, error) {
	d, err := a.dialer(o)
	if err != nil {
		return nil, nil, err
	}
	conn, err := d.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	c := transport.NewClient(conn, transport.ClientOptions{})
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	w, err := c.Hello(ctx, greet(program), nil)
	if err != nil {
		return nil, nil, errors.Join(noAnswer(ctx, err), c.Close())
	}
	return c, w, nil
}

// greet is a hello with a client id of its own.
func greet(program string) *model.Client {
	h := hello(program)
	h.ID = newClientID()
	return &h
}

// noAnswer makes the end of a bound the error that it stands for.
func noAnswer(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: timed out waiting for an answer", model.ErrDisconnected)
	}
	return err
}

func newClientID() []byte {
	id := make([]byte, 16)
	rand.Read(id)
	return id
}
