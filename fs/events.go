package fs

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/fs/stream"
	"github.com/commy-project/commyfs/internal/jsonline"
	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/internal/watch"
	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
)

// The file events of [controlName] is a stream of lines, one for each change (S18). All who read what is about the same paths
// share a stream, which keeps the last lines: its memory does not depend on how many read, or whether they do.

const (
	// streamKept is how long a stream goes on that nobody reads, so that one who reads it again misses nothing.
	streamKept = time.Minute
	// streamRetry is how long it waits before it tries again to begin.
	streamRetry = time.Second
	// maxStreams bounds how many there are at a time.
	maxStreams = 64
)

// eventQuery is what a stream is asked for: events?path=TENANT/SERVICE&since=TOKEN, with the slashes of the path as %2F.
type eventQuery struct {
	key   string     // of the paths
	paths [][]string // components
	since string
}

// parseEventQuery reads the name of a stream.
func parseEventQuery(name string) (*eventQuery, bool) {
	_, text, ok := strings.Cut(name, "events?")
	if !ok || !strings.HasPrefix(name, "events?") {
		return nil, false
	}
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, false
	}
	q := &eventQuery{}
	for key, list := range values {
		switch key {
		case "path":
			slices.Sort(list)
			for _, path := range slices.Compact(list) {
				components := strings.Split(strings.Trim(path, "/"), "/")
				for i, file := range components {
					if file == "" {
						return nil, false
					}
					components[i] = names.Decode(file, min(names.Level(i), names.Nested))
				}
				q.paths = append(q.paths, components)
				q.key += path + "\n"
			}
		case "since":
			q.since = list[len(list)-1]
		default:
			return nil, false
		}
	}
	return q, true
}

// streams are those that go on.
type streams struct {
	f       *FS
	watches *watch.Hub
	n       atomic.Int32 // of m; for a look without the lock

	mu sync.Mutex // guards the following
	m  map[string]*eventStream
	// goneLines and goneMissed are of streams that have ended.
	goneLines, goneMissed uint64
}

type eventStream struct {
	of     *streams
	key    string
	lines  *stream.Stream
	synced chan struct{} // closed when it has begun: every later change is in it
	cancel context.CancelFunc
	only   *watch.Service // that all paths are in, nil: several
	told   watch.Token    // of the last change in it; only run uses it

	// Guarded by streams.mu.
	opens int
	idle  *time.Timer

	awaiting struct {
		sync.Mutex
		files map[uint64]uint64 // descriptor -> the kernel's number of it, of those that are polled
	}
}

// eventHandle is an open stream.
type eventHandle struct {
	s       *eventStream
	r       *stream.Reader
	fh      uint64
	node    uint64
	process int // that has opened it; 0: not known
}

func (ss *streams) init(f *FS, co *varsync.Options) {
	ss.f, ss.m = f, map[string]*eventStream{}
	ss.watches = watch.New(watch.Options{Dial: co.Dial, Client: func() model.Client { return co.Client }, Timeout: f.c.Timeout(), Logger: f.log})
	ss.watches.Of(f.c)
}

// tell takes what the tree has changed. It never blocks.
func (ss *streams) tell(notices []varsync.Notice) {
	if ss.n.Load() > 0 {
		ss.watches.Changed(notices)
	}
}

// openEvents opens a stream. It waits until every change from then on will be in it, but not longer than for any answer.
func (f *FS) openEvents(interrupt <-chan struct{}, q *eventQuery) (*eventHandle, error) {
	s, err := f.streams.use(q)
	if err != nil {
		return nil, err
	}
	h := &eventHandle{s: s}
	ctx, cancel := f.askContext(interrupt)
	defer cancel()
	select {
	case <-s.synced:
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			s.unuse()
			return nil, syscall.EINTR
		}
	}
	if q.since == "" {
		h.r = s.lines.Now()
	} else if h.r, err = s.since(ctx, q); err != nil {
		s.unuse()
		return nil, syscall.EINVAL
	}
	return h, nil
}

// use finds or begins a stream, and keeps it until unuse.
func (ss *streams) use(q *eventQuery) (*eventStream, error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s := ss.m[q.key]
	if s == nil {
		if len(ss.m) >= maxStreams {
			return nil, syscall.EMFILE
		}
		s = &eventStream{of: ss, key: q.key, lines: stream.New(droppedLine), synced: make(chan struct{}), only: q.service(ss.f.c)}
		s.awaiting.files = map[uint64]uint64{}
		s.lines.OnMore(s.wakePolls)
		var ctx context.Context
		ctx, s.cancel = context.WithCancel(ss.f.ctx)
		ss.m[q.key] = s
		ss.n.Add(1)
		go s.run(ctx, q.paths)
	}
	if s.idle != nil {
		s.idle.Stop()
		s.idle = nil
	}
	s.opens++
	return s, nil
}

func (s *eventStream) unuse() {
	ss := s.of
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s.opens--; s.opens > 0 {
		return
	}
	s.idle = time.AfterFunc(streamKept, func() {
		ss.mu.Lock()
		defer ss.mu.Unlock()
		if s.opens == 0 && ss.m[s.key] == s {
			ss.dropLocked(s)
		}
	})
}

func (ss *streams) dropLocked(s *eventStream) {
	delete(ss.m, s.key)
	ss.n.Add(-1)
	if s.idle != nil {
		s.idle.Stop()
	}
	_, lines, missed := s.lines.Stat()
	ss.goneLines, ss.goneMissed = ss.goneLines+lines, ss.goneMissed+missed
	s.cancel()
}

// stat adds up what the streams are.
func (ss *streams) stat() (streams, readers int, lines, missed uint64) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.m {
		r, l, m := s.lines.Stat()
		readers, lines, missed = readers+r, lines+l, missed+m
	}
	return len(ss.m), readers, lines + ss.goneLines, missed + ss.goneMissed
}

// end ends all streams: who reads them comes to the end.
func (ss *streams) end() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for _, s := range ss.m {
		ss.dropLocked(s)
	}
}

// run adds the changes to the lines.
func (s *eventStream) run(ctx context.Context, paths [][]string) {
	defer s.lines.End()
	if len(paths) == 0 {
		paths = [][]string{nil} // everything
	}
	begun := false
	for ctx.Err() == nil {
		err := s.of.watches.Watch(ctx, watch.Asked{Paths: paths, UpdatesOnly: true}, func(ev *watch.Event) bool {
			if ev.Kind != watch.Synced {
				s.add(ev)
			} else if !begun {
				begun = true
				close(s.synced)
			}
			return true
		})
		s.of.f.log.Debug("the watch for .commy/events has ended", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(streamRetry):
		}
	}
}

func (s *eventStream) add(ev *watch.Event) {
	s.lines.Add(func(token string) []byte { return s.line(ev, token+s.at(ev)) })
}

func (s *eventStream) line(ev *watch.Event, token string) []byte {
	c := jsonline.ChangeOf(ev)
	c.Token = token
	line, err := jsonline.Line(c)
	if err != nil { // it has nothing that JSON cannot have
		s.of.f.log.Error("event", "err", err)
	}
	return line
}

// await has the kernel told when there is more to read for a descriptor.
func (s *eventStream) await(fh, file uint64) {
	s.awaiting.Lock()
	defer s.awaiting.Unlock()
	s.awaiting.files[fh] = file
}

// wakePolls tells the kernel that there is more.
func (s *eventStream) wakePolls() {
	s.awaiting.Lock()
	files := s.awaiting.files
	if len(files) == 0 { // it can get some while we look
		s.awaiting.Unlock()
		return
	}
	s.awaiting.files = map[uint64]uint64{}
	s.awaiting.Unlock()
	for _, file := range files {
		s.of.f.kernel.WakePoll(file)
	}
}

// droppedLine tells a reader that was too slow, or away for too long, what it has missed.
func droppedLine(n uint64, token string) []byte {
	line, _ := jsonline.Line(struct {
		Event   string `json:"event"`
		Dropped uint64 `json:"dropped,omitempty"`
		Time    string `json:"time"`
		Token   string `json:"token"`
	}{"dropped", n, jsonline.Time(time.Now()), token})
	return line
}

// read waits for the next change, if it is to, until the caller is interrupted or the mount ends.
func (h *eventHandle) read(buf []byte, pos uint64, wait bool, interrupt <-chan struct{}) (int, error) {
	n, err := h.r.ReadAt(buf, pos, wait, interrupt)
	switch {
	case errors.Is(err, stream.ErrGone):
		return 0, syscall.ESTALE
	case errors.Is(err, stream.ErrAgain):
		return 0, syscall.EAGAIN
	case errors.Is(err, stream.ErrInterrupted):
		return 0, syscall.EINTR
	}
	return n, err
}

func (h *eventHandle) close() {
	h.s.awaiting.Lock()
	delete(h.s.awaiting.files, h.fh)
	h.s.awaiting.Unlock()
	h.r.Close()
	h.s.unuse()
}
