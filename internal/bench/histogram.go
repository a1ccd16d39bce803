package bench

import (
	"math"
	"math/bits"
	"time"
)

// precision is how many bits of a duration count: a bucket is at most 1/128 of its values wide.
const precision = 7

// histogram counts durations. Its size is fixed, so that adding one costs the same at any time.
type histogram struct {
	counts [(64-precision)<<precision + 1<<precision]uint64
	n      uint64
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(d)]++
	h.n++
}

// bucket numbers durations: those below 256 ns by themselves, each power of two above in 128 steps.
func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-(precision+1), 0)
	return shift<<precision + int(v>>shift)
}

// middle is the middle of a bucket.
func middle(bucket int) time.Duration {
	shift := max(bucket>>precision-1, 0)
	return time.Duration(bucket-shift<<precision)<<shift + time.Duration(1)<<shift/2
}

// quantile is the smallest duration that at least the fraction q of all does not exceed, to the precision of a bucket.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := max(uint64(math.Ceil(q*float64(h.n))), 1)
	for i, n := range h.counts {
		if n >= rank {
			return middle(i)
		}
		rank -= n
	}
	return math.MaxInt64 // of a fraction above 1
}
