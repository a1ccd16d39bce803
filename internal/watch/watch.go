// Package watch turns the notices of a copy into what a watch reports: what exists, then changes, with values, also of services
// that have to be loaded first. The Go SDK and the mounts' .commy/events are made of it.
package watch

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// Errors that end a watch.
var (
	ErrClosed = errors.New("the client is closed")
	// ErrExpired: the server no longer knows what has changed since the token.
	ErrExpired = errors.New("the changes since the token are no longer known")
)

// Options configure a [Hub].
type Options struct {
	// Dial makes another connection, for watches that resume.
	Dial func(context.Context) (varsync.Conn, error)
	// Client describes the program to the server, on such a connection.
	Client func() model.Client
	// Timeout limits every wait for the server.
	Timeout time.Duration
	Logger  *slog.Logger
}

// Hub has the watches of one copy. What they report is in step with what the program sees in the copy.
type Hub struct {
	o    Options
	sync *varsync.Client
	done chan struct{} // closed by Close
	held atomic.Int64  // services that watches keep loaded

	mu       sync.Mutex // guards the following
	closed   bool
	watchers map[*watcher]struct{}
}

// New returns a Hub without watches.
func New(o Options) *Hub {
	return &Hub{o: o, done: make(chan struct{}), watchers: map[*watcher]struct{}{}}
}

// Of sets the copy, before the first watch.
func (h *Hub) Of(c *varsync.Client) { h.sync = c }

// Held is how many services the watches keep loaded; one that several watches keep counts for each.
func (h *Hub) Held() int64 { return h.held.Load() }

// Changed is to be called with all notices of the copy, in order. It does not block.
func (h *Hub) Changed(notices []varsync.Notice) {
	for _, w := range h.watching() {
		w.onChange(notices)
	}
}

// Fail ends the watches that there are.
func (h *Hub) Fail(err error) {
	for _, w := range h.watching() {
		w.fail(err)
	}
}

// Close ends all watches. It is idempotent.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.done)
	}
}

func (h *Hub) watching() []*watcher {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.watchers))
}

func (h *Hub) register(w *watcher) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.watchers[w] = struct{}{}
	}
	return !h.closed
}

func (h *Hub) unregister(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
}

// Asked is what a watch is asked for.
type Asked struct {
	// Paths are the components of what is watched, with everything below; an empty one is everything.
	Paths [][]string
	// UpdatesOnly skips what exists when the watch begins.
	UpdatesOnly bool
	// Only is the service that all paths are in, nil: any.
	Only *Service
	// Since resumes after the event with this token, in a watch of one service.
	Since Token
}

// Service is a service that need not exist.
type Service struct {
	Tenant, Name string
	// Follow returns the copy of the service, loaded.
	Follow func(context.Context) (*varsync.Service, error)
}

// errStop says that the loop over a watch has ended.
var errStop = errors.New("stop")

// Watch reports events until yield returns false, which is no error, or to the error that ends the watch. yield must not keep
// the event.
func (h *Hub) Watch(ctx context.Context, a Asked, yield func(*Event) bool) error {
	err := newWatcher(h, a).run(ctx, yield)
	if errors.Is(err, errStop) {
		return nil
	}
	return err
}

// isAbove reports whether path b is a or below it.
func isAbove(a, b []string) bool { return len(b) >= len(a) && slices.Equal(b[:len(a)], a) }
