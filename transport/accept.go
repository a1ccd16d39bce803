package transport

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/commy-project/commyfs/model"
)

// AcceptOptions are the accepting side's options. The zero value is usable.
type AcceptOptions struct {
	Options
}

// Upgrade turns a request into a connection. If it cannot, it has answered the request and returns why:
// requests of browsers (with an Origin) are refused, as are clients that do not offer [Subprotocol].
// Credentials are the caller's to check beforehand, by [PeerFrom] or [BearerToken]; [Refuse] answers those it does not like.
func Upgrade(w http.ResponseWriter, r *http.Request, o AcceptOptions) (*Conn, error) {
	if _, ok := r.Header["Origin"]; ok {
		err := &model.Error{Code: model.CodeDenied, Message: "requests of web pages are refused"}
		Refuse(w, err)
		return nil, err
	}
	// The one place that picks a dialect.
	if !slices.Contains(websocket.Subprotocols(r), Subprotocol) {
		err := &model.Error{Code: model.CodeUnsupported, Message: "subprotocol " + Subprotocol + " is not offered"}
		Refuse(w, err)
		return nil, err
	}
	opts := o.Options.withDefaults()
	hw := &hijacker{ResponseWriter: w, opts: opts}
	up := websocket.Upgrader{
		Subprotocols:    []string{Subprotocol},
		ReadBufferSize:  readBuffer,
		WriteBufferSize: serverWriteBuffer,
		Error: func(_ http.ResponseWriter, _ *http.Request, status int, reason error) {
			refuse(w, status, reason.Error())
		},
	}
	ws, err := up.Upgrade(hw, r, nil)
	if err != nil {
		return nil, fmt.Errorf("websocket handshake: %w", err)
	}
	var peer *Peer
	if p, ok := PeerFrom(r.Context()); ok {
		peer = &p
	}
	return newConn(ws, hw.conn, opts, peer, peer != nil, r.Header), nil
}

const (
	readBuffer = 16 << 10
	// The server's messages are written from the sender's buffer if they do not fit here.
	serverWriteBuffer = 16 << 10
	// The client's are copied and masked in pieces of this size.
	clientWriteBuffer = 64 << 10
)

// hijacker puts our netConn below the WebSocket.
type hijacker struct {
	http.ResponseWriter
	opts Options
	conn *netConn
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = newNetConn(c, h.opts.WriteTimeout)
	return h.conn, rw, nil
}

// BearerToken returns the API key of a request, "" if there is none.
func BearerToken(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// Refuse answers a request with the HTTP status for err and its text; [Dial] makes the same error of it. The connection
// ends, and nothing that may still come of the request is read.
func Refuse(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	switch model.CodeOf(err) {
	case model.CodeUnauthorized:
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", "Bearer")
	case model.CodeDenied:
		status = http.StatusForbidden
	case model.CodeUnavailable:
		status = http.StatusServiceUnavailable
	case model.CodeInternal:
		status = http.StatusInternalServerError
	}
	text := err.Error()
	var e *model.Error
	if errors.As(err, &e) {
		text = e.Message
	}
	refuse(w, status, text)
}

// refuse writes the answer by hand: net/http would read the request's body before it lets go of the connection.
func refuse(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Connection", "close")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	text += "\n"
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // not a connection, or already taken over
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
		return
	}
	_ = c.SetDeadline(time.Now().Add(closeWait))
	h.Set("Content-Length", strconv.Itoa(len(text)))
	b := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	buf := bytes.NewBuffer(b)
	_ = h.Write(buf)
	buf.WriteString("\r\n")
	buf.WriteString(text)
	_, _ = c.Write(buf.Bytes())
	_ = c.Close()
}
