package core

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/access"
	"golang.org/x/sys/unix"
)

// BenchmarkLoad brings a service of a million variables in a thousand directories into memory, again and again.
func BenchmarkLoad(b *testing.B) {
	const dirs, each = 1000, 1000
	dir := b.TempDir()
	s, err := Open(b.Context(), Options{
		Store: engine.Options{Dir: dir, MinFree: 1}, Dir: dir, Auth: access.New(model.User(0)), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	const id = 1
	ops := []engine.Op{}
	for d := range dirs {
		name := fmt.Sprintf("directory-%03d", d)
		ops = append(ops, engine.PutDir(id, engine.Dir{ID: 1<<30 + uint64(d), Name: name}))
		for i := range each {
			ops = append(ops, engine.PutVariable(id, engine.Variable{
				ID: 1<<40 + uint64(d*each+i), Name: fmt.Sprintf("%s/v%03d", name, i), Version: 1, Writer: "root@host", Data: make([]byte, 16),
			}))
		}
		if len(ops) > engine.MaxOps-2*each {
			if _, err := s.engine.Commit(b.Context(), ops); err != nil {
				b.Fatal(err)
			}
			ops = nil
		}
	}
	if _, err := s.engine.Commit(b.Context(), ops); err != nil {
		b.Fatal(err)
	}
	var before, after runtime.MemStats
	var used time.Duration
	for b.Loop() {
		b.StopTimer()
		svc := newService(id, "s", nil, meta{})
		runtime.GC()
		runtime.ReadMemStats(&before)
		start := processorTime(b)
		b.StartTimer()
		if err := s.load(b.Context(), svc); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		used += processorTime(b) - start
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(dirs*each), "B/variable")
		s.view.forget(svc.content.Load().nodes.freeze())
		b.StartTimer()
	}
	b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "cpu-ms")
}

// processorTime is what the process has used.
func processorTime(b *testing.B) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
