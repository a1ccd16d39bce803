package commyfs_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/commy-project/commyfs"
)

// benchClient connects to a server in a process of its own. It returns what the server has used of the processor.
func benchClient(b *testing.B) (c *commyfs.Client, used func() time.Duration) {
	b.Helper()
	dir, err := os.MkdirTemp("", "commyfs")
	if err != nil {
		b.Fatal(err)
	}
	run := filepath.Join(dir, "run")
	cmd := exec.Command(os.Args[0], "serve", "--auto", "--state-dir", filepath.Join(dir, "state"), "--runtime-dir", run)
	cmd.Env = append(os.Environ(), role+"=serve")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	for {
		c, err = commyfs.Connect(b.Context(), commyfs.Options{URLs: []string{"unix://" + run + "/server.sock"}})
		if err == nil {
			break
		}
		if b.Context().Err() != nil || cmd.ProcessState != nil {
			b.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.Cleanup(func() { _ = c.Close() })
	return c, func() time.Duration {
		var utime, stime int64
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err == nil {
			var s string
			var n int64
			_, err = fmt.Sscan(string(data), &n, &s, &s, &n, &n, &n, &n, &n, &n, &n, &n, &n, &n, &utime, &stime)
		}
		if err != nil {
			b.Fatal(err)
		}
		return time.Duration(utime+stime) * 10 * time.Millisecond
	}
}

func ownTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// revision counts the commits of the server.
func revision(b *testing.B, c *commyfs.Client) int64 {
	b.Helper()
	s, err := c.Status(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return s.Rev
}

// BenchmarkPut is writers of a variable each, over one connection to a server in another process. Each waits for the
// answer to one change before it makes the next.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		for _, followed := range []bool{false, true} {
			b.Run(fmt.Sprintf("writers=%d/followed=%v", writers, followed), func(b *testing.B) {
				c, served := benchClient(b)
				s := c.Service("t", "s")
				for i := range writers {
					if _, err := s.Put(b.Context(), fmt.Sprint("v", i), nil); err != nil {
						b.Fatal(err)
					}
				}
				if followed {
					if _, err := s.Load(b.Context(), "v0", nil); err != nil {
						b.Fatal(err)
					}
				}
				benchChanges(b, c, served, writers, func(w int, n uint64) error {
					_, err := s.Put(context.Background(), fmt.Sprint("v", w), binary.LittleEndian.AppendUint64(nil, n))
					return err
				})
			})
		}
	}
}

// BenchmarkAdd is the same with one counter for all, which the server adds to; and with what clients would do otherwise.
func BenchmarkAdd(b *testing.B) {
	ctx := context.Background()
	for _, writers := range []int{1, 8, 64} {
		for _, way := range []string{"add", "compare and swap"} {
			b.Run(fmt.Sprintf("writers=%d/%s", writers, way), func(b *testing.B) {
				c, served := benchClient(b)
				s := c.Service("t", "s")
				if _, err := s.Add(ctx, "n", 0); err != nil {
					b.Fatal(err)
				}
				benchChanges(b, c, served, writers, func(int, uint64) error {
					if way == "add" {
						_, err := s.Add(ctx, "n", 1)
						return err
					}
					for {
						e, err := s.Get(ctx, "n")
						if err != nil {
							return err
						}
						n, err := strconv.Atoi(strings.TrimSpace(string(e.Value)))
						if err != nil {
							return err
						}
						if _, err = s.Update(ctx, "n", fmt.Appendln(nil, n+1), e.Version); !errors.Is(err, commyfs.ErrConflict) {
							return err
						}
					}
				})
				if n, err := s.Int64(ctx, "n"); err != nil || n != int64(b.N) {
					b.Errorf("the counter is %d (%v) after %d additions", n, err, b.N)
				}
			})
		}
	}
}

// benchChanges measures what writers do that each wait for one change before they make the next.
func benchChanges(b *testing.B, c *commyfs.Client, served func() time.Duration, writers int, change func(w int, n uint64) error) {
	b.Helper()
	var next atomic.Uint64
	var mu sync.Mutex
	var times []time.Duration
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	own, other, commits := ownTime(), served(), revision(b, c)
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			var took []time.Duration
			for {
				n := next.Add(1)
				if n > uint64(b.N) {
					break
				}
				start := time.Now()
				if err := change(w, n); err != nil {
					b.Error(err)
					return
				}
				took = append(took, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, took...)
		})
	}
	wg.Wait()
	b.StopTimer()
	own, other, commits = ownTime()-own, served()-other, revision(b, c)-commits
	runtime.ReadMemStats(&after)
	slices.Sort(times)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
	b.ReportMetric(float64(b.N)/float64(commits), "changes/commit")
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(own.Microseconds())/float64(b.N), "client-µs/op")
	b.ReportMetric(float64(other.Microseconds())/float64(b.N), "server-µs/op")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(b.N), "client-allocs/op")
}
