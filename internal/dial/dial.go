// Package dial connects to the server that is meant: one of several URLs, or the user's own on this machine.
package dial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/internal/trust"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/transport"
)

// Options say which server is meant. Timeout is required.
type Options struct {
	URLs                      []string               // tried in turn; none: the user's own server
	APIKey                    func() (string, error) // asked at every connection to a URL
	CAFile, CertFile, KeyFile string
	Local                     local.Options // which own server, and how to start it
	NoStart                   bool          // it is not started
	Timeout                   time.Duration
	Logger                    *slog.Logger
}

// Dialer makes connections, again and again for those who live long.
type Dialer struct {
	o     Options
	good  atomic.Int64 // which URL answered last
	again atomic.Bool  // there was a connection before
}

// New returns a Dialer.
func New(o Options) *Dialer {
	o.Local.Transport = transport.Options{Heartbeat: o.Timeout / 3, Silence: o.Timeout, Logger: o.Logger}
	o.Local.Logger = o.Logger
	if o.Local.Env == nil {
		o.Local.Env = publicEnviron()
	}
	return &Dialer{o: o}
}

// Dial connects to the first server that answers, beginning with the one that did before. The user's own server is
// started if it does not run.
func (d *Dialer) Dial(ctx context.Context) (*transport.Conn, error) {
	switch {
	case len(d.o.URLs) > 0:
		return d.dialURLs(ctx)
	case d.o.NoStart:
		return d.connect(ctx)
	}
	o := d.o.Local
	o.Reconnect = d.again.Load()
	conn, err := local.Dial(ctx, o)
	d.again.CompareAndSwap(false, err == nil)
	return conn, err
}

// Client is Dial for who makes calls.
func (d *Dialer) Client(ctx context.Context) (*transport.Client, error) {
	conn, err := d.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return transport.NewClient(conn, transport.ClientOptions{}), nil
}

func (d *Dialer) connect(ctx context.Context) (*transport.Conn, error) {
	conn, err := local.Connect(ctx, d.o.Local)
	if local.IsAbsent(err) {
		err = fmt.Errorf("no server is running: %w", err)
	}
	return conn, err
}

func (d *Dialer) dialURLs(ctx context.Context) (*transport.Conn, error) {
	key, err := d.o.APIKey()
	if err == nil {
		err = CheckFiles(d.o.CAFile, d.o.KeyFile)
	}
	if err != nil {
		return nil, err
	}
	var errs []error
	first := int(d.good.Load())
	for i := range d.o.URLs {
		n := (first + i) % len(d.o.URLs)
		conn, err := transport.Dial(ctx, transport.DialOptions{URL: d.o.URLs[n], CAFile: d.o.CAFile, CertFile: d.o.CertFile,
			KeyFile: d.o.KeyFile, APIKey: key, Timeout: d.o.Timeout, Options: d.o.Local.Transport})
		if err == nil {
			d.good.Store(int64(n))
			return conn, nil
		}
		errs = append(errs, err)
		if code := model.CodeOf(err); code != model.CodeDisconnected && code != model.CodeUnavailable {
			break // the others would say the same
		}
	}
	return nil, errors.Join(errs...)
}

// publicEnviron is the environment without what is meant for a client, secrets first of all.
func publicEnviron() []string {
	out := []string{}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "COMMYFS_") {
			out = append(out, e)
		}
	}
	return out
}

// ReadKey reads a file with an API key.
func ReadKey(file string) (string, error) {
	if err := trust.CheckSecret(file); err != nil {
		return "", invalid(fmt.Errorf("API key: %w", err))
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("API key: %w", err)
	}
	key := strings.TrimSpace(string(data))
	if key == "" {
		return "", fmt.Errorf("%w: %s is empty, it should hold an API key", model.ErrUnauthorized, file)
	}
	return key, CheckKey(key, file)
}

// CheckKey finds what cannot be sent. A malformed key is a wrong key.
func CheckKey(key, where string) error {
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: %s does not hold an API key", model.ErrUnauthorized, where)
	}
	return nil
}

// CheckFiles refuses files that others decide about: a key that they can read, authorities that they can write.
func CheckFiles(ca, key string) error {
	err := trust.CheckAuthority(ca)
	if err == nil {
		err = trust.CheckSecret(key)
	}
	if err != nil {
		err = invalid(err)
	}
	return err
}

func invalid(err error) error { return &model.Error{Code: model.CodeInvalid, Message: err.Error()} }
