package server

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
	"github.com/commy-project/commyfs/transport"
)

const (
	helloTimeout = 10 * time.Second
	// lingerTime is how long a server that stops waits for a client to take the last answers.
	lingerTime = 250 * time.Millisecond
	maxWriter  = 128 // bytes of what names a writer
)

var (
	errNoHello  = errors.New("no hello")
	errReplaced = errors.New("the client has a newer connection")
	errStuck    = errors.New("the client takes nothing")
)

// session is one connection of a client.
type session struct {
	server    *Server
	conn      *transport.Conn
	local     bool // the client is on this host
	auth      *access.Authorizer
	principal model.Principal
	user      string // the principal's name for people
	writer    string // what its changes are signed with
	client    *client
	hello     *transport.Hello
	connected time.Time
	feed      *feed
	out       *outbox
	written   chan struct{} // closed when the writer has ended
	wg        sync.WaitGroup

	memory  *account // for requests and what waits to be sent
	sending *account // for what is being sent
	// sendingSince is since when the writer has waited for the client to take something, 0 if it does not.
	sendingSince atomic.Int64
	jobs         jobs

	line line // guarded by queue.mu
}

// serve runs a session until its connection is over.
func (s *Server) serve(conn *transport.Conn, who model.Principal, name string) {
	defer conn.Close()
	c := &session{
		server: s, conn: conn, local: conn.Local(), auth: s.auth, principal: who, user: name, connected: time.Now(),
		written: make(chan struct{}), line: line{at: -1},
	}

	conn.SetMaxMessage(maxHello)
	envs, err := s.firstWords(conn)
	if err != nil {
		return
	}
	hello, ok := envs[0].Message.(*transport.Hello)
	if !ok || len(hello.ID) != clientIDLen {
		_ = conn.Send(transport.Envelope{ID: envs[0].ID, Message: (*transport.Error)(model.ErrInvalid)})
		conn.CloseWith(&model.Error{Code: model.CodeInvalid, Message: "a session begins with a hello"})
		return
	}
	c.hello = bounded(hello)
	c.writer = clip(c.user+"@"+c.hello.Host, maxWriter)
	c.memory = s.memory.open(c.principal, c.waitingSince, conn.Done(), conn.Fail)
	c.sending = s.sending.open(c.principal, c.waitingSince, conn.Done(), conn.Fail)
	defer c.memory.close()
	defer c.sending.close()
	c.out = newOutbox()
	c.feed = newFeed(c.memory, c.out.signal)
	if reason := s.register(c); reason != nil {
		_ = conn.Send(transport.Envelope{ID: envs[0].ID, Message: (*transport.Error)(reason)})
		conn.CloseWith(reason)
		return
	}
	defer s.unregister(c)
	c.out.admit()
	conn.SetMaxMessage(0)
	conn.SetBudget(c.memory)
	c.out.reply(reply{id: envs[0].ID, message: c.welcome()})
	go func() {
		defer close(c.written)
		c.writeLoop()
	}()
	defer func() {
		c.endWatches()
		c.out.close()
		_ = conn.Close()
		<-c.written
		c.wg.Wait()
	}()
	for envs = envs[1:]; ; {
		for _, e := range envs {
			if !c.receive(e) {
				return
			}
		}
		if envs, err = conn.Receive(); err != nil {
			return
		}
	}
}

// firstWords receives what must begin with a hello.
func (s *Server) firstWords(conn *transport.Conn) ([]transport.Envelope, error) {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil, model.ErrUnavailable
	}
	s.opening[conn] = struct{}{}
	s.mu.Unlock()
	timer := time.AfterFunc(helloTimeout, func() { conn.Fail(errNoHello) })
	defer func() {
		timer.Stop()
		s.mu.Lock()
		delete(s.opening, conn)
		s.mu.Unlock()
	}()
	return conn.Receive()
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "uid " + id
}

// register makes the session its client's, in the place of one that it may still have: of that one nothing is carried out
// any more that is not already being carried out, so that what the client sends again cannot be overtaken.
func (s *Server) register(c *session) *model.Error {
	id := c.principal.Client(c.hello.ID)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return model.ErrUnavailable
	}
	cl := s.clients[id]
	if cl == nil {
		cl = newClient(id)
		cl.born = time.Now()
		for _, name := range []string{id, string(c.hello.ID)} {
			if l := s.legacy[name]; l != nil {
				cl.born, cl.floor, cl.old = time.Time{}, l.floor, l.results
			}
		}
		s.clients[id] = cl
	}
	old, line := cl.session, cl.line
	cl.session, cl.line = c, &c.line
	c.client = cl
	s.live[c] = struct{}{}
	s.mu.Unlock()
	if line != nil {
		s.queue.fence(line)
	}
	if old != nil {
		old.conn.Fail(errReplaced)
	}
	// The key may have been revoked since it was checked; from here on revoking finds the session.
	if s.auth.Check(c.principal) != nil {
		s.unregister(c)
		return access.ErrRevoked
	}
	return nil
}

func (s *Server) unregister(c *session) {
	s.mu.Lock()
	delete(s.live, c)
	if len(s.live) == 0 {
		s.idleSince = time.Now()
	}
	if c.client.session == c {
		c.client.session, c.client.left = nil, time.Now()
	}
	s.mu.Unlock()

	c.endWatches()
}

// end tells the client why and ends the session, at once if there is nothing to tell.
func (c *session) end(reason error) {
	if told, ok := reason.(*model.Error); ok {
		c.conn.CloseWith(told)
	} else {
		c.conn.Fail(reason)
	}
}

// linger waits until the writer has sent what there was, but not for long.
func (c *session) linger(ctx context.Context) {
	t := time.NewTimer(lingerTime)
	defer t.Stop()
	select {
	case <-c.written:
	case <-t.C:
	case <-ctx.Done():
	}
}

func (c *session) welcome() *transport.Welcome {
	return &transport.Welcome{Store: c.server.engine.StoreID(), Server: c.server.info, Limits: c.server.currentLimits(), Local: c.local}
}

func (s *Server) currentLimits() model.Limits {
	l := s.limits
	l.Free, l.Total, _ = s.engine.Free() // unknown is shown as none
	return l
}

// waitingSince is since when the client is to send the rest of a message, or to take one; 0 if it is not.
func (c *session) waitingSince() int64 {
	in, out := c.conn.ReceivingSince(), c.sendingSince.Load()
	if in == 0 || out != 0 && out < in {
		return out
	}
	return in
}

// receive handles one request. false ends the session.
func (c *session) receive(e transport.Envelope) (ok bool) {
	if !c.out.admit() {
		return false
	}
	defer func() {
		if p := recover(); p != nil {
			c.server.log.Error("panic", "request", fmt.Sprintf("%T", e.Message), "panic", p, "stack", string(debug.Stack()))
			c.conn.Fail(fmt.Errorf("panic: %v", p))
			ok = false
		}
	}()
	r := request{c, Ticket{e.ID, e.Cost}}
	if e.ID == 0 {
		c.conn.CloseWith(&model.Error{Code: model.CodeInvalid, Message: "a request has an id"})
		return false
	}
	if err := c.auth.Check(c.principal); err != nil {
		r.refuse(err)
		return true
	}
	r.handle(e.Message)
	return true
}
