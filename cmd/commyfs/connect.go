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

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/dial"
	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
)

// withClient connects as the named program, runs f and disconnects.
func (a *app) withClient(ctx context.Context, o *common, program string, f func(*commyfs.Client) error) error {
	c, err := a.connect(ctx, o, program, false)
	if err != nil {
		return err
	}
	err = f(c)
	return errors.Join(err, c.Close())
}

func (a *app) connect(ctx context.Context, o *common, program string, noStart bool) (*commyfs.Client, error) {
	if err := o.resolve(a); err != nil {
		return nil, err
	}
	co := commyfs.Options{URLs: o.server, APIKeyFile: o.apiKeyFile, CAFile: o.ca, CertFile: o.cert, KeyFile: o.key, StateDir: o.state,
		RuntimeDir: o.runtime, Command: []string{local.Executable()}, ServerArgs: o.serverArgs(), NoStart: noStart, Timeout: o.timeout,
		NoMap: true, Program: program, Logger: o.logger(a.stderr, slog.LevelWarn)}
	if co.APIKeyFile == "" {
		co.APIKey = strings.TrimSpace(a.getenv(apiKeyEnv))
	}
	c, err := commyfs.Connect(ctx, co)
	return c, o.hint(a, err)
}

// serverArgs are the arguments of a server that is started.
func (o *common) serverArgs() []string {
	if level := o.level.value; level != "" {
		return []string{"--log-level", level}
	}
	return nil
}

// hint adds advice to a connection error.
func (o *common) hint(a *app, err error) error {
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.Is(err, model.ErrInvalid):
		return usagef("%s", strings.Replace(err.Error(), model.ErrInvalid.Message+": ", "", 1))
	case errors.Is(err, model.ErrUnauthorized):
		if key, keyErr := o.apiKey(a); keyErr == nil { // otherwise err is about the key
			err = fmt.Errorf("%w: %s", err, keyHint(key))
		}
	case errors.As(err, &unknown) && o.ca == "":
		err = fmt.Errorf("%w: if its certificate is self-signed, use --ca with the ca.pem that `commyfs serve` prints", err)
	}
	return err
}

func keyHint(key string) string {
	if key == "" {
		return "use --api-key-file to give an API key"
	}
	return "the server does not know this API key: run `commyfs key list` there to see which it knows"
}

// dialer makes connections for commands that need more than a client of package commyfs.
type dialer struct {
	a    *app
	o    *common
	log  *slog.Logger
	dial *dial.Dialer
}

func (a *app) dialer(o *common, log *slog.Logger, noStart bool) *dialer {
	own := local.Options{StateDir: o.state, RuntimeDir: o.runtime, Args: o.serverArgs()}
	return &dialer{a, o, log, dial.New(dial.Options{URLs: o.server, APIKey: func() (string, error) { return o.apiKey(a) }, CAFile: o.ca,
		CertFile: o.cert, KeyFile: o.key, Local: own, NoStart: noStart, Timeout: o.timeout, Logger: log})}
}

func (d *dialer) connect(ctx context.Context) (*transport.Conn, error) {
	conn, err := d.dial.Dial(ctx)
	return conn, d.o.hint(d.a, err)
}

// session is connect for a client.
func (d *dialer) session(ctx context.Context) (varsync.Conn, error) {
	conn, err := d.dial.Client(ctx)
	if err != nil {
		return nil, d.o.hint(d.a, err)
	}
	return conn, nil
}

func (d *dialer) transport() transport.Options { return dial.Transport(d.o.timeout, d.log) }

func hello(program string) model.Client {
	host, _ := os.Hostname() // for display only
	return model.Client{Program: program, Version: currentVersion(), Pid: os.Getpid(), Host: host}
}

// greet is a hello with a new client id.
func greet(program string) *model.Client {
	h := hello(program)
	h.ID = make([]byte, 16)
	rand.Read(h.ID)
	return &h
}

// noAnswer turns an expired deadline into a disconnection.
func noAnswer(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: timed out waiting for an answer", model.ErrDisconnected)
	}
	return err
}
