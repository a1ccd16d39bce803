package core

import (
	"errors"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
	"github.com/commy-project/commyfs/server/budget"
)

var (
	errReplaced = errors.New("the client has a newer connection")
	errStuck    = errors.New("the client takes nothing")
)

// A Subscriber is who is behind a [Session]: a connection of some protocol, say. It fetches what there is to tell with
// [Session.Deliver].
type Subscriber interface {
	// Ready says that there may be something to deliver. It does not wait, and calls nothing of the session's.
	Ready()
	// Stalled is since when, in Unix nanoseconds, the subscriber has waited for the other end to send or to take something; 0
	// if it does not.
	Stalled() int64
	// Done is closed when the subscriber is gone.
	Done() <-chan struct{}
	// Fail has the subscriber go at once, End when it has told the other end why. Fail does not wait.
	Fail(reason error)
	End(reason *model.Error)
	// Heard is when the other end was last heard of. Left reports, when the subscriber is gone, whether the other end has closed
	// the connection; Gone waits for a while at most until its process is known to have ended.
	Heard() time.Time
	Left() bool
	Gone(wait time.Duration) bool
}

// Identity is who attaches to a [Core].
type Identity struct {
	Principal model.Principal
	Client    []byte // names the client across sessions: [ClientIDLen] bytes
	Writer    string // what its changes are signed with
	Local     bool   // it can open memory files
	Info      model.SessionInfo
}

// Session is a client that is attached.
type Session struct {
	Identity
	// Memory is for what the session asks for and what waits to be told.
	Memory *budget.Account

	core   *Core
	auth   *access.Authorizer
	sub    Subscriber
	client *client
	feed   *feed
	line   line // guarded by queue.mu
	holds  holds
	kept   kept // this and gone are guarded by caches.mu
	gone   bool
}

// Attach makes a session its client's, in the place of one that it may still have: of that one nothing is carried out any
// more that is not already being carried out, so that what the client sends again cannot be overtaken.
func (s *Core) Attach(id Identity, sub Subscriber) (*Session, error) {
	c := &Session{
		Identity: id, Memory: s.memory.Open(id.Principal, sub.Stalled, sub.Done(), sub.Fail), core: s, auth: s.auth, sub: sub, line: line{at: -1},
	}
	c.feed = newFeed(c.Memory, sub.Ready)
	name := id.Principal.Client(id.Client)
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		c.Memory.Close()
		return nil, model.ErrUnavailable
	}
	cl := s.clients[name]
	if cl == nil {
		cl = newClient(name)
		cl.born = time.Now()
		for _, old := range []string{name, string(id.Client)} {
			if l := s.legacy[old]; l != nil {
				cl.born, cl.acked, cl.old = time.Time{}, l.acked, l.results
			}
		}
		s.clients[name] = cl
	}
	old, line := cl.session, cl.line
	cl.session, cl.line = c, &c.line
	c.client = cl
	s.live[c] = struct{}{}
	s.wg.Add(1)
	s.mu.Unlock()
	if line != nil {
		s.queue.fence(line)
	}
	if old != nil {
		old.sub.Fail(errReplaced)
	}
	s.locking.attached(c)
	// The key may have been revoked since it was checked; from here on revoking finds the session.
	if err := s.auth.Check(id.Principal); err != nil {
		c.Detach()
		return nil, err
	}
	return c, nil
}

// Detach is the end of Attach.
func (s *Session) Detach() {
	c := s.core
	c.mu.Lock()
	delete(c.live, s)
	if len(c.live) == 0 {
		c.idleSince = time.Now()
	}
	if s.client.session == s {
		s.client.session, s.client.left = nil, time.Now()
	}
	c.mu.Unlock()
	s.uncache(0)
	c.locking.detached(s)
	s.EndWatches()
	s.Memory.Close()
	c.wg.Done()
}
