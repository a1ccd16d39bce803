package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/commy-project/commyfs/model"
)

const dialTimeout = 10 * time.Second

// DialOptions say where to connect to and as whom.
type DialOptions struct {
	// URL is unix:///path (taken as it is, nothing is escaped in it), wss://host:port, or ws://host:port for loopback
	// hosts only.
	URL string
	// CAFile holds the certificates that the server's must be signed by. Default: the system's.
	CAFile string
	// CertFile and KeyFile are the client's own certificate. Default: none.
	CertFile, KeyFile string
	// TLS is used in place of CAFile, CertFile and KeyFile, if set; at least TLS 1.3 is spoken in any case.
	TLS *tls.Config
	// APIKey is sent as bearer token. Default: none.
	APIKey string
	// Timeout bounds the whole of Dial. Default: 10 s.
	Timeout time.Duration
	// NetDial replaces the network: it returns the byte stream, below TLS. Default: the net package.
	NetDial func(ctx context.Context, network, addr string) (net.Conn, error)

	Options
}

// Dial connects to a server. Errors match [model.ErrDisconnected] when it cannot be reached (and the system's error, such as
// syscall.ECONNREFUSED), [ErrUntrusted] when its certificate does not hold, [model.ErrUnauthorized] and [model.ErrDenied] when it
// refuses us, [model.ErrUnsupported] when what answers is no commyfs server, [model.ErrInvalid] when the options make no sense.
func Dial(ctx context.Context, o DialOptions) (*Conn, error) {
	t, err := parseTarget(o)
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = dialTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	conn, err := t.dial(ctx, o)
	if err != nil {
		return nil, t.explain(ctx, err)
	}
	return conn, nil
}

// target is a parsed DialOptions.URL.
type target struct {
	name    string // as the user knows it
	network string
	addr    string
	host    string
	path    string
	tls     *tls.Config // nil: none
	caFile  string
}

func parseTarget(o DialOptions) (*target, error) {
	if path, ok := strings.CutPrefix(o.URL, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("%w: server URL %s: the path must be absolute", model.ErrInvalid, o.URL)
		}
		return &target{name: o.URL, network: "unix", addr: path, host: "localhost", path: "/"}, nil
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: server URL: %w", model.ErrInvalid, err)
	}
	t := &target{name: u.Redacted(), network: "tcp", host: u.Host, addr: u.Host, path: u.EscapedPath(), caFile: o.CAFile}
	if t.path == "" {
		t.path = "/"
	}
	if u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: server URL %s: must be wss://host:port or unix:///path", model.ErrInvalid, t.name)
	}
	switch u.Scheme {
	case "wss":
		if t.tls, err = clientConfig(o); err != nil {
			return nil, err
		}
		if t.tls.ServerName == "" {
			t.tls.ServerName = u.Hostname()
		}
		if u.Port() == "" {
			t.addr = net.JoinHostPort(u.Hostname(), "443")
		}
	case "ws":
		if !isLoopback(u.Hostname()) {
			return nil, fmt.Errorf("%w: server URL %s: without TLS only addresses of this host are allowed: use wss://", model.ErrInvalid, t.name)
		}
		if u.Port() == "" {
			t.addr = net.JoinHostPort(u.Hostname(), "80")
		}
	default:
		return nil, fmt.Errorf("%w: server URL %s: must be wss://host:port or unix:///path", model.ErrInvalid, t.name)
	}
	return t, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (t *target) dial(ctx context.Context, o DialOptions) (*Conn, error) {
	c, err := t.connect(ctx, o.NetDial)
	if err != nil {
		return nil, err
	}
	opts := o.Options.withDefaults()
	nc := newNetConn(c, opts.WriteTimeout)
	// gorilla heeds the deadline of ctx, but not its cancellation, once it is connected.
	stop := context.AfterFunc(ctx, nc.abort)
	d := websocket.Dialer{
		NetDialContext:  func(context.Context, string, string) (net.Conn, error) { return nc, nil },
		Subprotocols:    []string{Subprotocol},
		ReadBufferSize:  readBuffer,
		WriteBufferSize: clientWriteBuffer,
	}
	header := http.Header{}
	if o.APIKey != "" {
		header.Set("Authorization", "Bearer "+o.APIKey)
	}
	// TLS is nc's: to gorilla every connection is plain.
	ws, resp, err := d.DialContext(ctx, "ws://"+t.host+t.path, header)
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		nc.abort()
		if errors.Is(err, websocket.ErrBadHandshake) {
			return nil, refusal(resp)
		}
		return nil, err
	}
	if ws.Subprotocol() != Subprotocol {
		nc.abort()
		return nil, &model.Error{Code: model.CodeUnsupported, Message: "the server does not speak " + Subprotocol}
	}
	peer, err := peerOf(nc.raw)
	if err != nil {
		peer = nil
	}
	conn := newConn(ws, nc, opts, peer, peer != nil, nil)
	if t.network == "unix" && o.NetDial == nil {
		conn.socket = t.addr
	}
	return conn, nil
}

// connect returns the byte stream, above TLS.
func (t *target) connect(ctx context.Context, netDial func(context.Context, string, string) (net.Conn, error)) (net.Conn, error) {
	var c net.Conn
	var err error
	switch {
	case netDial != nil:
		c, err = netDial(ctx, t.network, t.addr)
	case t.network == "unix":
		return dialUnix(ctx, t.addr)
	default:
		var d net.Dialer
		c, err = d.DialContext(ctx, t.network, t.addr)
	}
	if err != nil {
		return nil, err
	}
	if t.tls == nil {
		// "localhost" is what the resolver says it is.
		if a, ok := c.RemoteAddr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
			_ = c.Close()
			return nil, &model.Error{Code: model.CodeInvalid, Message: fmt.Sprintf("%s without TLS is not on this host", a)}
		}
		return c, nil
	}
	tc := tls.Client(c, t.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		return nil, err
	}
	return tc, nil
}

// refusal makes an error of the server's answer to the handshake.
func refusal(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil {
		body = nil
	}
	text, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	e := &model.Error{Code: model.CodeUnsupported, Message: "not a commyfs server: it answers " + resp.Status}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		e = &model.Error{Code: model.CodeUnauthorized, Message: model.ErrUnauthorized.Message}
	case http.StatusForbidden:
		e = &model.Error{Code: model.CodeDenied, Message: model.ErrDenied.Message}
	case http.StatusServiceUnavailable:
		e = &model.Error{Code: model.CodeUnavailable, Message: model.ErrUnavailable.Message}
	default:
		if text != "" {
			e.Message += ": " + text
		}
		return e
	}
	if text != "" {
		e.Message = text
	}
	return e
}
