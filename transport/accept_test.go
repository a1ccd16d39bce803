package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/commy-project/commyfs/model"
)

func TestCredentials(t *testing.T) {
	noLeaks(t)
	s := &testServer{auth: func(r *http.Request) error {
		if _, ok := PeerFrom(r.Context()); ok {
			return errors.New("a peer over TCP")
		}
		switch BearerToken(r) {
		case "good":
			return nil
		case "denied":
			return &model.Error{Code: model.CodeDenied, Message: "key has no rights"}
		case "starting":
			return &model.Error{Code: model.CodeUnavailable, Message: "server starts"}
		}
		return &model.Error{Code: model.CodeUnauthorized, Message: "wrong key"}
	}}
	ca := s.onTLS(t)
	for _, tt := range []struct {
		key  string
		want error
		text string
	}{
		{"", model.ErrUnauthorized, "wrong key"},
		{"bad", model.ErrUnauthorized, "wrong key"},
		{"denied", model.ErrDenied, "key has no rights"},
		{"starting", model.ErrUnavailable, "server starts"},
	} {
		_, err := Dial(t.Context(), DialOptions{URL: s.url, CAFile: ca, APIKey: tt.key})
		if !errors.Is(err, tt.want) || errors.Is(err, model.ErrDisconnected) || err.Error() != s.url+": "+tt.text {
			t.Errorf("key %q: got %v, want %v", tt.key, err, tt.want)
		}
	}
	client, server := s.connect(t, DialOptions{CAFile: ca, APIKey: "good"})
	if client.Local() || server.Local() {
		t.Error("local over TLS")
	}
	if _, ok := server.Peer(); ok {
		t.Error("a peer over TLS")
	}
	if v := server.net.Conn.(*tls.Conn).ConnectionState().Version; v != tls.VersionTLS13 {
		t.Errorf("TLS version %#x", v)
	}
}

func TestBearerToken(t *testing.T) {
	for header, want := range map[string]string{"": "", "Bearer": "", "Bearer k": "k", "bearer  k ": "k", "Basic k": "", "Bearer a b": "a b"} {
		if got := BearerToken(&http.Request{Header: http.Header{"Authorization": {header}}}); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func TestUpgradeRefuses(t *testing.T) {
	s := &testServer{}
	s.onTCP(t, nil)
	for _, tt := range []struct {
		name   string
		header map[string]string
		status int
		text   string
	}{
		{"browser", map[string]string{"Origin": "http://127.0.0.1"}, 403, "web pages"},
		{"empty origin", map[string]string{"Origin": ""}, 403, "web pages"},
		{"no subprotocol", map[string]string{"Sec-WebSocket-Protocol": ""}, 400, "subprotocol commy.v2 is not offered"},
		{"another subprotocol", map[string]string{"Sec-WebSocket-Protocol": "commy.v3"}, 400, "subprotocol commy.v2 is not offered"},
		{"no WebSocket", map[string]string{"Upgrade": "h2c"}, 400, "websocket"},
		{"fine, with another offer", map[string]string{"Sec-WebSocket-Protocol": "commy.v3, commy.v2"}, 101, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http"+strings.TrimPrefix(s.url, "ws"), nil)
			if err != nil {
				t.Fatal(err)
			}
			for k, v := range map[string]string{
				"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
				"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "commy.v2",
			} {
				req.Header.Set(k, v)
			}
			for k, v := range tt.header {
				req.Header.Set(k, v)
			}
			tr := &http.Transport{}
			defer tr.CloseIdleConnections()
			resp, err := tr.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			if resp.StatusCode != tt.status {
				t.Fatalf("got %s, want %d", resp.Status, tt.status)
			}
			if tt.status == 101 {
				return
			}
			if body, err := io.ReadAll(resp.Body); err != nil || !strings.Contains(string(body), tt.text) {
				t.Errorf("got %q, %v, want %q", body, err, tt.text)
			}
		})
	}
}
