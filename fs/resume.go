package fs

import (
	"context"
	"slices"
	"strings"

	"github.com/commy-project/commyfs/fs/stream"
	"github.com/commy-project/commyfs/internal/watch"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// A token of a stream is that of its line and, if the stream is about one service, behind it the place in the changes of that
// service: STREAM:LINE:STORE:REVISION. The latter holds in other mounts of the server too. Of several services there is no such
// place: after a lost connection, each is brought up to date by itself.

// service returns the service that all that is asked for is in, nil if there are several.
func (q *eventQuery) service(c *varsync.Client) *watch.Service {
	if len(q.paths) == 0 || len(q.paths[0]) < 2 {
		return nil
	}
	in := q.paths[0][:2]
	for _, p := range q.paths {
		if len(p) < 2 || !slices.Equal(p[:2], in) {
			return nil
		}
	}
	return &watch.Service{Tenant: in[0], Name: in[1], Follow: func(context.Context) (*varsync.Service, error) {
		if t := c.Tenant(in[0]); t != nil {
			if s := t.Service(in[1]); s != nil {
				return s, nil
			}
		}
		return nil, model.ErrNotFound
	}}
}

// at is what the token of an event has behind that of its line.
func (s *eventStream) at(ev *watch.Event) string {
	if s.only == nil {
		return ""
	}
	if ev.Token != (watch.Token{}) && ev.Tenant == s.only.Tenant && ev.Service == s.only.Name {
		s.told = ev.Token
	}
	if s.told == (watch.Token{}) {
		return ""
	}
	return ":" + s.told.String()
}

// cutToken takes the token of a line apart.
func cutToken(token string) (line string, at watch.Token) {
	parts := strings.SplitN(token, ":", 3)
	if len(parts) < 3 {
		return token, at
	}
	at, err := watch.ParseToken(parts[2])
	if err != nil {
		return "", at
	}
	return parts[0] + ":" + parts[1], at
}

// since returns a reader of what came after a token. If the stream does not have it, the server may know.
func (s *eventStream) since(ctx context.Context, q *eventQuery) (*stream.Reader, error) {
	line, at := cutToken(q.since)
	r, whole, err := s.lines.Since(line)
	if err != nil || whole || s.only == nil || at == (watch.Token{}) {
		return r, err
	}
	now := s.lines.Now() // before the server is asked: what comes meanwhile is told twice, and nothing is missed
	events, err := s.of.watches.Since(ctx, watch.Asked{Paths: q.paths, Only: s.only, Since: at}, stream.MaxBytes/2)
	if err != nil {
		s.of.f.log.Debug("changes since a token of .commy/events", "err", err)
		now.Close()
		return r, nil
	}
	r.Close()
	var lines []byte
	for i := range events {
		lines = append(lines, s.line(&events[i], line+":"+events[i].Token.String())...)
	}
	now.Lead(lines)
	return now, nil
}
