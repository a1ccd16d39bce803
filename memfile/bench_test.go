package memfile_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/commy-project/commyfs/memfile"
)

func BenchmarkRead(b *testing.B) {
	for _, size := range []int{8, 4 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "m")
			create(b, path, memfile.WriterOptions{}, memfile.Initial{ID: 1, Value: make([]byte, size)})
			r := open(b, path)
			buf := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := r.Read(0, 1, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadParallel(b *testing.B) {
	path := filepath.Join(b.TempDir(), "m")
	create(b, path, memfile.WriterOptions{}, memfile.Initial{ID: 1, Value: make([]byte, 8)})
	r := open(b, path)
	b.RunParallel(func(pb *testing.PB) {
		buf := make([]byte, 8)
		for pb.Next() {
			if _, _, err := r.Read(0, 1, buf); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkStat(b *testing.B) {
	path := filepath.Join(b.TempDir(), "m")
	create(b, path, memfile.WriterOptions{}, memfile.Initial{ID: 1, Value: make([]byte, 8)})
	r := open(b, path)
	for b.Loop() {
		if _, err := r.Stat(0, 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{8, 4 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w := create(b, filepath.Join(b.TempDir(), "m"), memfile.WriterOptions{})
			slot, value := w.Alloc(), make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for version := uint64(1); b.Loop(); version++ {
				if _, err := w.Put(slot, 1, version, 0, "name", value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRotate is what a full file costs the writer.
func BenchmarkRotate(b *testing.B) {
	const vars = 100000
	path := filepath.Join(b.TempDir(), "m")
	w, err := memfile.Create(path, memfile.WriterOptions{}, func(yield func(memfile.Initial) bool) {
		for i := range uint32(vars) {
			if !yield(memfile.Initial{Slot: i, ID: uint64(i + 1), Name: fmt.Sprint("directory/variable", i), Value: make([]byte, 100)}) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	for b.Loop() {
		if err := w.Rotate(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/vars, "ns/variable")
}

// BenchmarkChanged is what the end of a batch costs the writer: a system call, and more if somebody waits.
func BenchmarkChanged(b *testing.B) {
	for _, waiters := range []int{0, 1} {
		b.Run(fmt.Sprint("waiters-", waiters), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "m")
			w := create(b, path, memfile.WriterOptions{})
			r := open(b, path)
			ctx, cancel := context.WithCancel(b.Context())
			var wg sync.WaitGroup
			for range waiters {
				wg.Go(func() {
					for since := uint32(0); ctx.Err() == nil; {
						since, _ = r.Wait(ctx, since)
					}
				})
			}
			for b.Loop() {
				if err := w.Changed(); err != nil {
					b.Fatal(err)
				}
			}
			cancel()
			wg.Wait()
		})
	}
}
