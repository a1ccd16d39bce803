package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// change is one line of watch.
type change struct {
	id       uint64
	event    string
	path     string
	oldPath  string // of a move
	dir      bool
	mode     string // of attrib
	version  uint64
	mtime    int64
	writer   string
	value    []byte
	hasValue bool
}

// watcher turns the notices of a client into lines. A service that comes later has to be loaded before its changes are
// seen; what it holds by then is announced as created.
type watcher struct {
	targets [][]string      // components of what is watched; an empty one is everything
	wake    chan struct{}   // has a token when the queue is not empty
	wanted  chan struct{}   // has a token when a service may have to be loaded
	loaded  map[uint64]bool // loadLoop's own

	mu     sync.Mutex // guards the following
	client *varsync.Client
	queue  changes
	// told holds what was printed as created while or because a service was announced, with the version printed: the
	// listing and the notices may both have it. announcing is that service's path meanwhile.
	told       map[uint64]uint64
	announcing []string
}

func newWatcher(args []string) (*watcher, error) {
	w := &watcher{wake: make(chan struct{}, 1), wanted: make(chan struct{}, 1), loaded: map[uint64]bool{}, told: map[uint64]uint64{}}
	w.queue.modified = map[uint64]int{}
	for _, arg := range args {
		components, err := splitPath(arg)
		if err != nil {
			return nil, err
		}
		w.targets = append(w.targets, components)
	}
	if len(w.targets) == 0 {
		w.targets = [][]string{nil}
	}
	return w, nil
}

// matches reports whether a path is a target or below one.
func (w *watcher) matches(path []string) bool {
	return slices.ContainsFunc(w.targets, func(t []string) bool { return len(path) >= len(t) && slices.Equal(path[:len(t)], t) })
}

// wants reports whether a service can hold what is watched.
func (w *watcher) wants(tenant, service string) bool {
	return slices.ContainsFunc(w.targets, func(t []string) bool {
		n := min(len(t), 2)
		return slices.Equal([]string{tenant, service}[:n], t[:n])
	})
}

// onChange runs on the client's receiving goroutine, so it only takes down what the notices are about.
func (w *watcher) onChange(notices []varsync.Notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range notices {
		n := &notices[i]
		if n.Dir && len(n.Path) <= 2 {
			nudge(w.wanted)
		}
		if w.matches(n.Path) || n.Kind == varsync.Renamed && w.matches(n.OldPath) {
			w.addLocked(n)
		}
	}
}

var eventNames = map[varsync.NoticeKind]string{
	varsync.Modified: "modify", varsync.Created: "create", varsync.Deleted: "delete", varsync.Renamed: "move",
	varsync.MetaChanged: "attrib",
}

func (w *watcher) addLocked(n *varsync.Notice) {
	c := change{id: n.ID, event: eventNames[n.Kind], path: formatPath(n.Path), dir: n.Dir, mtime: n.MTime}
	if n.Kind == varsync.Renamed {
		c.oldPath = formatPath(n.OldPath)
	}
	if n.Kind == varsync.MetaChanged && w.client != nil {
		c.describe(w.client.Node(n.ID))
		w.queue.add(c)
		nudge(w.wake)
		return
	}
	if !n.Dir && n.Kind != varsync.Deleted && w.client != nil {
		if v, ok := w.client.Node(n.ID).(*varsync.Variable); ok {
			c.fill(v)
		}
	}
	printed, told := w.told[n.ID]
	switch {
	case n.Kind == varsync.Deleted:
		delete(w.told, n.ID)
	case n.Kind == varsync.Renamed:
	case told && (n.Dir || c.version <= printed):
		return
	case told:
		c.event = "modify"
		w.told[n.ID] = c.version
	case w.announcing != nil && len(n.Path) >= 2 && slices.Equal(n.Path[:2], w.announcing):
		c.event = "create" // new to us, also if it is modified already
		w.told[n.ID] = c.version
	}
	w.queue.add(c)
	nudge(w.wake)
}

// fill describes the variable as it is: the client has applied the change, and nothing after it, when it tells of it.
func (c *change) fill(v *varsync.Variable) {
	data, meta, err := v.Load(nil)
	if err != nil {
		return // deleted by a later step of the same change
	}
	c.version, c.mtime, c.writer, c.value, c.hasValue = meta.Version, meta.MTime, v.Writer(), data, true
}

// describe takes the mode of what has got another one, or another time.
func (c *change) describe(n varsync.Node) {
	switch n := n.(type) {
	case *varsync.Variable:
		c.version, c.writer, c.mode = n.Meta().Version, n.Writer(), formatMode(n.Mode(), false)
	case interface{ Mode() model.Mode }:
		c.mode = formatMode(n.Mode(), true)
	}
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// loadLoop loads the services that are watched: those that are there, which is not worth a line, and those that come.
func (w *watcher) loadLoop(ctx context.Context, c *varsync.Client, log *slog.Logger) error {
	w.mu.Lock()
	w.client = c
	w.mu.Unlock()
	for first := true; ; first = false {
		for _, t := range c.Tenants() {
			for _, s := range t.Services() {
				if !w.wants(t.Name(), s.Name()) || w.loaded[s.ID()] {
					continue
				}
				err := w.load(ctx, t.Name(), s, !first)
				switch {
				case err == nil:
					w.loaded[s.ID()] = true
				case errors.Is(err, model.ErrNotFound): // gone again
				case errors.Is(err, model.ErrDenied):
					w.loaded[s.ID()] = true // as far as it can be
					log.Warn("cannot watch a service", "service", formatPath([]string{t.Name(), s.Name()}), "err", err)
				case ctx.Err() != nil:
					return nil
				case model.CodeOf(err) == model.CodeDisconnected, model.CodeOf(err) == model.CodeUnavailable:
					log.Warn("cannot watch a service yet", "service", formatPath([]string{t.Name(), s.Name()}), "err", err)
					w.again(ctx)
				default:
					return err
				}
			}
		}
		if first {
			for _, t := range w.targets {
				if !isThere(ctx, c, t) {
					log.Warn("does not exist yet, waiting for it", "path", formatPath(t))
				}
			}
		}
		select {
		case <-w.wanted:
		case <-ctx.Done():
			return nil
		}
	}
}

// isThere reports whether something has the path, in a service that was loaded.
func isThere(ctx context.Context, c *varsync.Client, components []string) bool {
	if len(components) == 0 {
		return true
	}
	t := c.Tenant(components[0])
	if t == nil || len(components) == 1 {
		return t != nil
	}
	s := t.Service(components[1])
	if s == nil || len(components) == 2 {
		return s != nil
	}
	root, err := s.Root(ctx)
	if err != nil {
		return true // which has been logged
	}
	var node varsync.Node = root
	for _, name := range components[2:] {
		d, ok := node.(*varsync.Dir)
		if !ok {
			return false
		}
		if node = d.Lookup(name); node == nil {
			return false
		}
	}
	return true
}

// load begins to watch a service, and tells of what is in it if it is new to us.
func (w *watcher) load(ctx context.Context, tenant string, s *varsync.Service, announce bool) error {
	if announce {
		w.setAnnouncing([]string{tenant, s.Name()})
		defer w.setAnnouncing(nil)
	}
	s.Hold()
	root, err := s.Root(ctx)
	if err != nil {
		s.Release()
	} else if announce {
		w.announce(root, []string{tenant, s.Name()})
	}
	return err
}

func (w *watcher) setAnnouncing(service []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.announcing = service
}

// again has the loop come by once more in a moment.
func (w *watcher) again(ctx context.Context) {
	t := time.NewTimer(200 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	nudge(w.wanted)
}

// announce tells of what a directory holds, parents first.
func (w *watcher) announce(d *varsync.Dir, at []string) {
	for _, child := range d.Children() {
		path := append(slices.Clone(at), child.Name)
		w.announceNode(child.Node, path)
		if sub, ok := child.Node.(*varsync.Dir); ok {
			w.announce(sub, path)
		}
	}
}

func (w *watcher) announceNode(n varsync.Node, path []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, told := w.told[n.ID()]; told || !w.matches(path) {
		return
	}
	c := change{id: n.ID(), event: "create", path: formatPath(path)}
	switch n := n.(type) {
	case *varsync.Variable:
		if c.fill(n); !c.hasValue {
			return
		}
	case *varsync.Dir:
		c.dir, c.mtime = true, n.MTime()
	}
	w.told[n.ID()] = c.version
	w.queue.add(c)
	nudge(w.wake)
}
