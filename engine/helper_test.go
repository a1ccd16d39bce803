package engine

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
)

// open opens a store that is closed at the end of the test.
func open(t testing.TB, opts Options) *Engine {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	e, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func commit(t testing.TB, e *Engine, ops ...Op) int64 {
	t.Helper()
	rev, err := e.Commit(t.Context(), ops)
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

// service is all that a service holds.
type service struct {
	floor uint64
	rev   int64
	pages int
	dirs  []Dir
	vars  []Variable
}

// pageFunc takes all that is stored under the service itself.
type pageFunc func(Page) error

func (f pageFunc) Fill(p Page) error                { return f(p) }
func (f pageFunc) Missing(Areas) ([]Area, error)    { return nil, nil }
func (f pageFunc) Has(uint64, string) (bool, error) { return true, nil }

func load(t testing.TB, e *Engine, id uint64) (s service) {
	t.Helper()
	var err error
	s.floor, s.rev, err = e.LoadService(t.Context(), id, pageFunc(func(p Page) error {
		s.pages++
		s.dirs = append(s.dirs, p.Dirs...)
		s.vars = append(s.vars, p.Variables...)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// disk is a fake of Options.Free with much room.
type disk struct{ free atomic.Int64 }

func newDisk() *disk {
	d := new(disk)
	d.free.Store(1 << 40)
	return d
}

func (d *disk) Free() (free, total int64, err error) { return d.free.Load(), 1 << 41, nil }

// logText collects a log.
type logText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logText) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level}))
}

// slowStep makes compactions long.
const slowStep = 32

func slowCompaction(t *testing.T) {
	was := compactionStep
	t.Cleanup(func() { compactionStep = was })
	compactionStep = slowStep
}

func name(i int) string { return fmt.Sprintf("v%06d", i) }

var background = context.Background

var noLeaks = testenv.NoLeaks
