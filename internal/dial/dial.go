// Package dial connects to a server: one of several URLs, or the user's own server on this machine.
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

// Options configure a [Dialer]. Timeout is required.
type Options struct {
	URLs                      []string               // tried in order; none: the user's own server
	APIKey                    func() (string, error) // called for every connection to a URL
	CAFile, CertFile, KeyFile string
	Local                     local.Options // the user's own server, and how to start it
	NoStart                   bool          // do not start it
	Timeout                   time.Duration
	Logger                    *slog.Logger
}

// Dialer makes connections to a server.
type Dialer struct {
	o     Options
	good  atomic.Int64 // the URL that answered last
	again atomic.Bool  // there has been a connection
}

// New returns a Dialer.
func New(o Options) *Dialer {
	o.Local.Transport = Transport(o.Timeout, o.Logger)
	o.Local.Logger = o.Logger
	if o.Local.Env == nil {
		o.Local.Env = PublicEnviron()
	}
	return &Dialer{o: o}
}

// Transport returns the options of a connection on which the server may be silent no longer than timeout.
func Transport(timeout time.Duration, log *slog.Logger) transport.Options {
	return transport.Options{Heartbeat: timeout / 3, Silence: timeout, Logger: log}
}

// Dial connects to the first server that answers, beginning with the one that answered last. It starts the user's own server
// if that is not running.
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

// Client is like Dial, but returns a client.
func (d *Dialer) Client(ctx context.Context) (*transport.Client, error) {
	conn, err := d.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return transport.NewClient(conn, transport.ClientOptions{}), nil
}

func (d *Dialer) connect(ctx context.Context) (*transport.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.o.Timeout)
	defer cancel()
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
			break // other servers would answer the same
		}
	}
	return nil, errors.Join(errs...)
}

// PublicEnviron returns the environment without commyfs variables, which can hold secrets.
func PublicEnviron() []string {
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
		return "", fmt.Errorf("%w: %s is empty", model.ErrUnauthorized, file)
	}
	return key, CheckKey(key, file)
}

// CheckKey rejects a key that cannot be sent in a header. A malformed key is a wrong key.
func CheckKey(key, where string) error {
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%w: %s does not contain a valid API key", model.ErrUnauthorized, where)
	}
	return nil
}

// CheckFiles refuses a private key that other users can read, and CA certificates that they can write.
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
