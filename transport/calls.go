package transport

import (
	"context"
	"fmt"

	"github.com/commy-project/commyfs/model"
)

// What a client asks of a server, in the words of the model. The context of a call bounds its sending, too.

// Hello introduces the client. From then on w is told of what the client watches, under the rules of OnPush, unless it is
// nil.
func (c *Client) Hello(ctx context.Context, who *model.Client, w model.Watcher) (*model.Welcome, error) {
	if w != nil {
		push := tell(w)
		c.onPush.Store(&push)
	}
	m, err := Request[*Welcome](ctx, c, (*Hello)(who))
	return (*model.Welcome)(m), err
}

func tell(w model.Watcher) func(Message) {
	return func(m Message) {
		switch m := m.(type) {
		case *TreeChanged:
			w.TreeChanged((*model.TreeChanges)(m))
		case *VariableChanged:
			w.Changed((*model.Changes)(m))
		case *Snapshot:
			w.Replaced((*model.Snapshot)(m))
		case *ServiceFileRotated:
			if m.Stored {
				w.MemoryStored(m.Service)
				return
			}
			w.MemoryFileMoved(m.Service, &model.MemoryFile{Path: m.Path, Generation: m.Generation})
		case *Locked:
			w.Locked((*model.LockAnswer)(m))
		case *LeaseEnded:
			w.LeaseEnded(m.Lease)
		}
	}
}

// WatchTree calls page with the pages of all tenants and services, and has their changes told from then on.
func (c *Client) WatchTree(ctx context.Context, page func(*model.TreePage) error) error {
	return stream(ctx, c, &WatchTree{}, func(m *Tree) (bool, error) { return m.More, page((*model.TreePage)(m)) })
}

// Watch calls page with the pages of a service's state, and has its changes told from then on.
func (c *Client) Watch(ctx context.Context, req *model.Watch, page func(*model.Snapshot) error) error {
	return stream(ctx, c, (*Watch)(req), func(m *Snapshot) (bool, error) { return m.More, page((*model.Snapshot)(m)) })
}

// Unwatch ends a watch: when it returns, nothing more of the service is told, and its memory file is not kept for us.
func (c *Client) Unwatch(ctx context.Context, service uint64) error {
	return c.carriedOut(ctx, &Unwatch{Service: service})
}

// MemoryFile has the server make a service's memory file and keep it for this connection.
func (c *Client) MemoryFile(ctx context.Context, service uint64) (*model.MemoryFile, error) {
	m, err := Request[*ServiceFilePath](ctx, c, &GetServiceFilePath{Service: service})
	return (*model.MemoryFile)(m), err
}

// BareFile tells where the file of a bare service is.
func (c *Client) BareFile(ctx context.Context, service uint64) (*model.MemoryFile, error) {
	m, err := Request[*ServiceFilePath](ctx, c, &GetServiceFilePath{Service: service, Bare: true})
	return (*model.MemoryFile)(m), err
}

// Report sends r and has its outcome handled under the rules of OnPush. If it returns an error nothing was sent, and handle
// is never called; else it is called exactly once.
func (c *Client) Report(ctx context.Context, r *model.Report, handle func(*model.Outcome, error)) error {
	return c.Start(ctx, (*ReportVariableChanges)(r), func(m Message, err error) {
		ack, ok := m.(*VariableChangesAcknowledged)
		if err == nil && !ok {
			err = unexpected(m)
		}
		handle((*model.Outcome)(ack), err)
	})
}

// Probe asks whether a change would be accepted now.
func (c *Client) Probe(ctx context.Context, p *model.Probe) (*model.Probed, error) {
	m, err := Request[*Probed](ctx, c, (*Probe)(p))
	return (*model.Probed)(m), err
}

// Read returns one variable.
func (c *Client) Read(ctx context.Context, r *model.Read) (*model.Variable, error) {
	m, err := Request[*VariableData](ctx, c, (*ReadVariable)(r))
	if err != nil {
		return nil, err
	}
	return &m.Variable, nil
}

// List calls page with the pages of a listing.
func (c *Client) List(ctx context.Context, l *model.List, page func(*model.Page) error) error {
	return stream(ctx, c, (*List)(l), func(m *Entries) (bool, error) { return m.More, page((*model.Page)(m)) })
}

// Status describes the server.
func (c *Client) Status(ctx context.Context) (*model.Status, error) {
	m, err := Request[*Status](ctx, c, &GetStatus{})
	return (*model.Status)(m), err
}

// NewKey makes an API key and returns it.
func (c *Client) NewKey(ctx context.Context, k *model.NewKey) (key string, err error) {
	m, err := Request[*KeyCreated](ctx, c, (*CreateKey)(k))
	if err != nil {
		return "", err
	}
	return m.Key, nil
}

// Keys describes the API keys.
func (c *Client) Keys(ctx context.Context) ([]model.KeyInfo, error) {
	m, err := Request[*Keys](ctx, c, &ListKeys{})
	if err != nil {
		return nil, err
	}
	return m.Keys, nil
}

// RevokeKey ends an API key and every session that uses it.
func (c *Client) RevokeKey(ctx context.Context, name string) error {
	return c.carriedOut(ctx, &RevokeKey{Name: name})
}

// CacheVariables has the server ask before changes of variables are acknowledged to others, or not ask any more (off).
func (c *Client) CacheVariables(ctx context.Context, service uint64, ids []uint64, off bool) error {
	return c.carriedOut(ctx, &CacheVariables{Service: service, IDs: ids, Off: off})
}

// ConfirmChanges answers what the server asks: nothing older than the revision is kept.
func (c *Client) ConfirmChanges(ctx context.Context, service uint64, rev int64) error {
	return c.Tell(ctx, &ChangesConfirmed{Service: service, Rev: rev})
}

// Handover asks an automatic server to leave in favour of the caller.
func (c *Client) Handover(ctx context.Context) error { return c.carriedOut(ctx, &Handover{}) }

// Ping returns when the server has answered: everything that it sent before has been handled then.
func (c *Client) Ping(ctx context.Context) error { return c.carriedOut(ctx, &Ping{}) }

// Goodbye says that the client will resend nothing.
func (c *Client) Goodbye(ctx context.Context) error { return c.carriedOut(ctx, &Goodbye{}) }

func (c *Client) carriedOut(ctx context.Context, req Message) error {
	_, err := Request[*Done](ctx, c, req)
	return err
}

// stream is CallStream for pages of a known type.
func stream[R Message](ctx context.Context, c *Client, req Message, page func(R) (more bool, err error)) error {
	return c.CallStream(ctx, req, func(m Message) (bool, error) {
		r, ok := m.(R)
		if !ok {
			return false, unexpected(m)
		}
		return page(r)
	})
}

func unexpected(m Message) error {
	return fmt.Errorf("%w: the request was answered by %T", model.ErrUnsupported, m)
}
