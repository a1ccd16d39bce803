//go:build linux

package diff

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// mapped returns n bytes of fresh memory with an inaccessible page on both
// sides; n is a multiple of the page size. No tool watches such memory, the
// race detector included.
func mapped(t *testing.T, n int) []byte {
	t.Helper()
	page := syscall.Getpagesize()
	mem, err := syscall.Mmap(-1, 0, n+2*page, syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(mem); err != nil {
			t.Error(err)
		}
	})
	inner := mem[page : page+n : page+n]
	if err := syscall.Mprotect(inner, syscall.PROT_READ|syscall.PROT_WRITE); err != nil {
		t.Fatal(err)
	}
	return inner
}

// A kernel that reads or writes one byte outside the slices dies here.
func TestGuardPages(t *testing.T) {
	size := 2 * syscall.Getpagesize()
	a, b := mapped(t, size), mapped(t, size)
	eachKernel(t, func(t *testing.T, k kernel) {
		for n := 0; n <= size; n += 1 + n/300*97 {
			for _, flush := range []struct{ a, b int }{{0, 0}, {size - n, size - n}, {0, size - n}, {size - n, 0}} {
				cur, shadow := a[flush.a:flush.a+n], b[flush.b:flush.b+n]
				copy(shadow, random(11, n))
				copy(cur, shadow)
				check(t, k, cur, shadow, 0)
				if n == 0 {
					continue
				}
				for _, i := range []int{0, n / 2, n - 1} {
					cur[i]++
				}
				check(t, k, cur, shadow, n%80)
			}
		}
	})
}

// While somebody writes cur, the bytes of the shadow that a Sync changed must
// be exactly those that its ranges name. A kernel that loads twice, to compare
// and to store, fails.
func TestSyncAgainstWriter(t *testing.T) {
	// A few blocks and a tail: the less there is, the more often a write falls
	// between two loads.
	const size = 3*block + 8 + 5
	cur := mapped(t, syscall.Getpagesize())[:size]
	rounds := 100_000
	if raceEnabled {
		rounds /= 10 // slower, and not the code that is shipped
	}
	eachKernel(t, func(t *testing.T, k kernel) {
		var stop atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			// Few values, so that bytes also change back.
			for x := uint32(1); !stop.Load(); {
				for range 64 {
					x = x*1664525 + 1013904223
					cur[x>>8%size] = byte(x >> 30)
				}
				runtime.Gosched() // or one processor would change hands every 10 ms
			}
		})
		defer wg.Wait()
		defer stop.Store(true)

		shadow, before := make([]byte, size), make([]byte, size)
		var list []Range
		for moved, calls := 0, 0; moved < rounds; calls++ {
			copy(before, shadow)
			list = run(k, list[:0], cur, shadow, 0, true)
			if want := naive(shadow, before, 0); !slices.Equal(list, want) {
				t.Fatalf("call %d: ranges %v, but the shadow changed in %v", calls, clip(list), clip(want))
			}
			if len(list) > 0 {
				moved++
			} else {
				runtime.Gosched()
			}
		}
	})
}
