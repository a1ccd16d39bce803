package server

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/budget"
	"github.com/commy-project/commyfs/server/core"
	"github.com/commy-project/commyfs/transport"
)

const (
	helloTimeout = 10 * time.Second
	// lingerTime is how long a session that ends waits for its client to take the last answers.
	lingerTime = 250 * time.Millisecond
	maxWriter  = 128 // bytes of what names a writer
)

var errNoHello = errors.New("no hello")

// session is one connection of a client, as a [core.Subscriber].
type session struct {
	*core.Session
	server  *Server
	conn    *transport.Conn
	out     *outbox
	written chan struct{} // closed when the writer has ended
	wg      sync.WaitGroup
	jobs    jobs

	unread  chan struct{} // closed when nobody reads any more
	settles atomic.Uint64 // see relief

	// speaking is held by who tells the client something: the writer, or who reads. It guards the parcel.
	speaking sync.Mutex
	parcel   parcel

	process atomic.Pointer[os.File] // pidfd of the client's, once it has locks; nil: there is none

	sending *budget.Account // for what is being sent
	// sendingSince is since when the writer has waited for the client to take something, 0 if it does not.
	sendingSince atomic.Int64
}

// serve runs a session until its connection is over.
func (s *Server) serve(conn *transport.Conn, who model.Principal, name string) {
	defer conn.Close()
	c := &session{server: s, conn: conn, out: newOutbox(), written: make(chan struct{})}
	c.parcel.session = c
	c.unread = make(chan struct{})

	conn.SetMaxMessage(maxHello)
	envs, err := s.firstWords(conn)
	if err != nil {
		return
	}
	hello, ok := envs[0].Message.(*transport.Hello)
	if !ok || len(hello.ID) != core.ClientIDLen {
		_ = conn.Send(transport.Envelope{ID: envs[0].ID, Message: (*transport.Error)(model.ErrInvalid)})
		conn.CloseWith(&model.Error{Code: model.CodeInvalid, Message: "a session begins with a hello"})
		return
	}
	c.sending = s.sending.Open(who, c.Stalled, conn.Done(), conn.Fail)
	defer c.sending.Close()
	if c.Session, err = s.core.Attach(identity(who, name, hello, conn), c); err != nil {
		reason := s.refusal(err)
		_ = conn.Send(transport.Envelope{ID: envs[0].ID, Message: reason})
		conn.CloseWith((*model.Error)(reason))
		return
	}
	defer c.Detach()
	c.out.admit(c.HurryUp)
	conn.SetMaxMessage(0)
	conn.SetBudget(c.Memory)
	c.out.reply(reply{id: envs[0].ID, message: c.welcome()})
	go func() {
		defer close(c.written)
		c.writeLoop()
	}()
	defer func() {
		c.EndWatches()
		c.out.close()
		_ = conn.Close()
		<-c.written
		c.wg.Wait()
	}()
	c.readLoop(envs[1:])
	<-c.unread
}

// readLoop handles requests until the connection is over, or another goroutine does so; see relief.
func (c *session) readLoop(envs []transport.Envelope) {
	for {
		if ok, relieved := c.receiveAll(envs); relieved {
			return
		} else if !ok {
			break
		}
		var err error
		if envs, err = c.conn.Receive(); err != nil {
			break
		}
	}
	close(c.unread)
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

// identity is who has said hello. It keeps nothing of the message.
func identity(who model.Principal, name string, hello *transport.Hello, conn *transport.Conn) core.Identity {
	h := bounded(hello)
	return core.Identity{
		Principal: who, Client: h.ID, Writer: clip(name+"@"+h.Host, maxWriter), Local: conn.Local(),
		Info: model.SessionInfo{
			Program: h.Program, Pid: h.Pid, Host: h.Host, Mount: h.Mount, User: name,
			Remote: conn.RemoteAddr().String(), Connected: time.Now().UnixNano(),
		},
	}
}

func (c *session) welcome() *transport.Welcome {
	s := c.server
	return &transport.Welcome{Store: s.core.StoreID(), Server: s.info, Limits: s.core.Limits(), Local: c.Local, Each: true,
		Lease: int64(s.core.LeaseTime()), Principal: c.Principal.Mark()}
}

// Ready wakes the writer.
func (c *session) Ready() { c.out.loud() }

// Done is that of the connection.
func (c *session) Done() <-chan struct{} { return c.conn.Done() }

// Fail ends the connection.
func (c *session) Fail(reason error) { c.conn.Fail(reason) }

// End sends what there is, but not for long, then the reason.
func (c *session) End(reason *model.Error) {
	c.out.finish()
	t := time.NewTimer(lingerTime)
	defer t.Stop()
	select {
	case <-c.written:
	case <-t.C:
	case <-c.server.ctx.Done():
	}
	c.conn.CloseWith(reason)
}

// Stalled is since when the client is to send the rest of a message, or to take one; 0 if it is not.
func (c *session) Stalled() int64 {
	in, out := c.conn.ReceivingSince(), c.sendingSince.Load()
	if in == 0 || out != 0 && out < in {
		return out
	}
	return in
}

// receiveAll handles requests that came together, and tells what can be told of them at once. It ends the session if not ok.
// relieved: another goroutine reads by now.
func (c *session) receiveAll(envs []transport.Envelope) (ok, relieved bool) {
	if len(envs) == 0 {
		return true, false
	}
	c.out.hush()
	for _, e := range envs {
		if !c.receive(e) {
			c.HurryUp()
			return false, false
		}
	}
	var n uint64
	if here := c.Settle(func() { n = c.server.relief.begin(c) }); here && !c.settles.CompareAndSwap(n, 0) {
		c.out.loud()
		return true, true
	}
	c.tellNow()
	return true, false
}

// receive handles one request. false ends the session.
func (c *session) receive(e transport.Envelope) (ok bool) {
	if !c.out.admit(c.HurryUp) {
		return false
	}
	defer func() {
		if p := recover(); p != nil {
			c.server.log.Error("panic", "request", fmt.Sprintf("%T", e.Message), "panic", p, "stack", string(debug.Stack()))
			c.conn.Fail(fmt.Errorf("panic: %v", p))
			ok = false
		}
	}()
	r := request{c, core.Ticket{ID: e.ID, Cost: e.Cost}}
	if e.ID == 0 {
		c.conn.CloseWith(&model.Error{Code: model.CodeInvalid, Message: "a request has an id"})
		return false
	}
	if err := c.server.auth.Check(c.Principal); err != nil {
		r.refuse(err)
		return true
	}
	if !quick(e.Message) {
		c.out.loud() // what came before it does not wait for it
		c.HurryUp()
	}
	r.handle(e.Message)
	return true
}
