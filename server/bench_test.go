package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	"github.com/commy-project/commyfs/server/core"
	"github.com/commy-project/commyfs/transport"
)

func benchServer(b *testing.B) (*Server, func() *transport.Client) {
	b.Helper()
	run, err := os.MkdirTemp("/tmp", "commyfs-run-")
	if err != nil {
		b.Fatal(err)
	}
	s, err := Start(b.Context(), Options{StateDir: b.TempDir(), RuntimeDir: run})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
		_ = os.RemoveAll(run)
	})
	return s, func() *transport.Client {
		conn, err := transport.Dial(context.Background(), transport.DialOptions{URL: "unix://" + s.socket()})
		if err != nil {
			b.Fatal(err)
		}
		c := transport.NewClient(conn, transport.ClientOptions{})
		b.Cleanup(func() { _ = c.Close() })
		id := make([]byte, core.ClientIDLen)
		_, _ = rand.Read(id)
		if _, err := c.Call(context.Background(), &transport.Hello{ID: id}); err != nil {
			b.Fatal(err)
		}
		return c
	}
}

func benchStore(b *testing.B, c *transport.Client, seq uint64, name, value string) {
	m, err := c.Call(context.Background(), &transport.ReportVariableChanges{Seq: seq, Acked: seq, Changes: []model.Change{store(name, value)}})
	if err != nil {
		b.Error(err)
		return
	}
	if a := m.(*transport.VariableChangesAcknowledged); a.Code != model.CodeOK {
		b.Error(a.Message)
	}
}

// BenchmarkStore is one client that waits for each acknowledgement.
func BenchmarkStore(b *testing.B) {
	_, dial := benchServer(b)
	c := dial()
	benchTimed(b, c, 0)
}

// BenchmarkStoreBesideLists is the same in a service of 200,000 variables that another client lists without a pause.
func BenchmarkStoreBesideLists(b *testing.B) {
	_, dial := benchServer(b)
	c, lister := dial(), dial()
	const n, each = 200_000, 1000
	seq := uint64(0)
	for i := 0; i < n; i += each {
		seq++
		m := &transport.ReportVariableChanges{Seq: seq, Acked: seq}
		for j := range each {
			m.Changes = append(m.Changes, store(fmt.Sprintf("some/where/variable%d", i+j), "value"))
		}
		if _, err := c.Call(b.Context(), m); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	lists := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			err := lister.CallStream(ctx, &transport.List{Tenant: "t", Service: "s", Recursive: true}, func(m transport.Message) (bool, error) {
				return m.(*transport.Entries).More, nil
			})
			if err != nil {
				return
			}
			lists++
		}
	})
	benchTimed(b, c, seq)
	cancel()
	wg.Wait()
	b.ReportMetric(float64(lists), "lists")
}

// benchTimed stores one value after the other, and tells how long each takes.
func benchTimed(b *testing.B, c *transport.Client, seq uint64) {
	var times []time.Duration
	for b.Loop() {
		seq++
		start := time.Now()
		benchStore(b, c, seq, "v", fmt.Sprint(seq))
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkStoreUnchanged is the same without the engine.
func BenchmarkStoreUnchanged(b *testing.B) {
	_, dial := benchServer(b)
	c := dial()
	seq := uint64(0)
	for b.Loop() {
		seq++
		benchStore(b, c, seq, "v", "same")
	}
}

// BenchmarkStore64 is 64 writers of a variable each, over one connection.
func BenchmarkStore64(b *testing.B) {
	_, dial := benchServer(b)
	c := dial()
	var seq, writer atomic.Uint64
	b.SetParallelism(max(1, 64/runtime.GOMAXPROCS(0)))
	b.RunParallel(func(pb *testing.PB) {
		name := fmt.Sprint("v", writer.Add(1))
		for pb.Next() {
			n := seq.Add(1)
			m, err := c.Call(context.Background(), &transport.ReportVariableChanges{Seq: n, Acked: n - min(n, 200), Changes: []model.Change{store(name, fmt.Sprint(n))}})
			if err != nil {
				b.Error(err)
				return
			}
			if a := m.(*transport.VariableChangesAcknowledged); a.Code != model.CodeOK {
				b.Error(a.Message)
			}
		}
	})
}
