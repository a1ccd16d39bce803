package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/commy-project/commyfs/diff"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	all = 64 * mib // the largest value
	odd = 8        // an offset that is on no vector's boundary
)

// bench has the memory that everything is measured on: shadow and two values.
// Parts of one size start at the same place, so that all candidates read the
// same pages.
type bench struct {
	cur, other, shadow []byte
	dst                []diff.Range
	best               string
	has                map[string]bool
}

func newBench() (*bench, error) {
	b := &bench{dst: make([]diff.Range, 0, 64*kib), best: diff.Implementation(), has: map[string]bool{}}
	for _, p := range []*[]byte{&b.cur, &b.other, &b.shadow} {
		var err error
		if *p, err = memory(all + 4*kib); err != nil {
			return nil, err
		}
	}
	for _, name := range diff.Implementations() {
		b.has[name] = true
	}
	return b, nil
}

// use is diff.Use of a name that is known to be there.
func use(name string) {
	if err := diff.Use(name); err != nil {
		panic(err)
	}
}

// find is a candidate that compares n bytes from offset at on.
func (b *bench) find(name, implementation string, n, at, gap int) candidate {
	return candidate{name, func(times int) {
		use(implementation)
		dst, cur, shadow := b.dst[:0], b.cur[at:at+n], b.shadow[at:at+n]
		for range times {
			diff.Append(dst, cur, shadow, gap)
		}
	}}
}

func (b *bench) load512(n int) candidate {
	return candidate{"load512", func(times int) {
		cur, shadow := &b.cur[0], &b.shadow[0]
		for range times {
			load512(cur, shadow, n)
		}
	}}
}

func (b *bench) load256(n int) candidate {
	return candidate{"load256", func(times int) {
		cur, shadow := &b.cur[0], &b.shadow[0]
		for range times {
			load256(cur, shadow, n)
		}
	}}
}

func (b *bench) bytesEqual(n int) candidate {
	return candidate{"bytes.Equal", func(times int) {
		cur, shadow := b.cur[:n], b.shadow[:n]
		for range times {
			if !bytes.Equal(cur, shadow) {
				panic("the slices differ")
			}
		}
	}}
}

func (b *bench) reference(n int) candidate {
	return candidate{"reference", func(times int) {
		dst, cur, shadow := b.dst[:0], b.cur[:n], b.shadow[:n]
		for range times {
			reference(dst, cur, shadow, diff.DefaultGap)
		}
	}}
}

// unless512 gives the goals whose yardstick cannot run here.
func (b *bench) unless512(names ...string) []goal {
	if b.has["avx512"] && wide {
		return nil
	}
	var out []goal
	for _, name := range names {
		out = append(out, goal{Name: name, Unit: "x", Result: "n/a", Detail: "no AVX-512 on this machine or in this build"})
	}
	return out
}

// over is a ratio, or 0 if there is nothing to divide by.
func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

func size(n int) string {
	if n >= mib {
		return fmt.Sprintf("%d MiB", n/mib)
	}
	return fmt.Sprintf("%d KiB", n/kib)
}

// nanoseconds is what a ratio was made of.
func nanoseconds(a, b string, t map[string]float64) string {
	return fmt.Sprintf("%s %.4g ns, %s %.4g ns", a, t[a], b, t[b])
}

// equal compares what does not differ.
func (b *bench) equal() []goal {
	copy(b.cur, b.shadow)
	copy(b.other, b.shadow)
	var limit, equal, byByte []goal
	for _, s := range []struct {
		n                     int
		load, equals, byBytes float64
	}{
		{4 * kib, 1.25, 1.8, 110},
		{16 * kib, 1.15, 2.0, 0},
		{64 * kib, 1.10, 1.3, 55},
		{mib, 1.15, 0.85, 0},
		{16 * mib, 1.15, 0.85, 0},
		{64 * mib, 1.15, 0.85, 0},
	} {
		name := "equal, " + size(s.n)
		names := []string{name + ": AVX-512 / load-only 512", name + ": bytes.Equal / AVX-512", name + ": byte reference / AVX-512"}
		if none := b.unless512(names...); none != nil {
			limit, equal = append(limit, none[0]), append(equal, none[1])
			if s.byBytes > 0 {
				byByte = append(byByte, none[2])
			}
			continue
		}
		candidates := []candidate{b.find("diff", b.best, s.n, 0, diff.DefaultGap), b.bytesEqual(s.n), b.load512(s.n)}
		if s.byBytes > 0 {
			candidates = append(candidates, b.reference(s.n))
		}
		t := medians(candidates)
		limit = append(limit, most(names[0], t["diff"]/t["load512"], "x", s.load, nanoseconds("diff", "load512", t)))
		equal = append(equal, least(names[1], t["bytes.Equal"]/t["diff"], "x", s.equals, t["bytes.Equal"]/t["load512"], nanoseconds("bytes.Equal", "diff", t)))
		if s.byBytes > 0 {
			byByte = append(byByte, least(names[2], t["reference"]/t["diff"], "x", s.byBytes, t["reference"]/t["load512"], nanoseconds("reference", "diff", t)))
		}
	}
	return slices.Concat(limit, equal, byByte)
}

// small compares values that fit a cache line, and as large a one at an offset.
func (b *bench) small() []goal {
	var candidates []candidate
	for _, n := range []int{8, 13, 16, 32, 48, 63, 64} {
		candidates = append(candidates, b.find(fmt.Sprint(n), b.best, n, 0, diff.DefaultGap))
	}
	t := medians(candidates)
	worst := candidates[0].name
	for name := range t {
		if t[name] > t[worst] {
			worst = name
		}
	}
	small := most("8-64 bytes, equal", t[worst], "ns", 8, "worst: "+worst+" bytes")

	t = medians([]candidate{
		b.find("aligned", b.best, 64*kib, 0, diff.DefaultGap),
		b.find("not", b.best, 64*kib, odd, diff.DefaultGap),
	})
	return []goal{small, most("64 KiB, both slices at the same odd offset / aligned", t["not"]/t["aligned"], "x", 1.10, nanoseconds("not", "aligned", t))}
}

// dirty compares 64 KiB that differ.
func (b *bench) dirty() []goal {
	const n = 64 * kib
	limits := map[string]float64{"1 byte": 1.2, "16 bytes": 1.3, "256 bytes": 2.5}
	names := []string{}
	for _, p := range patterns {
		if limits[p.name] > 0 {
			names = append(names, "64 KiB, "+p.name+" changed / load-only 512")
		}
	}
	const any = "64 KiB, any pattern, gap 64 / load-only 512"
	out := b.unless512(append(names, any)...)
	measurable := out == nil

	worst, worstOf, alternating := 0.0, "", ""
	var perRange, halves float64
	for _, p := range patterns {
		p.apply(b.cur[:n], b.shadow[:n])
		candidates := []candidate{
			b.find("gap 64", b.best, n, 0, diff.DefaultGap),
			b.find("gap 0", b.best, n, 0, 0),
		}
		if measurable {
			candidates = append(candidates, b.load512(n))
		}
		t := medians(candidates)
		ranges := len(diff.Append(b.dst[:0], b.cur[:n], b.shadow[:n], 0))
		switch p.name {
		case "every other byte":
			perRange = t["gap 0"] / float64(ranges)
			alternating = fmt.Sprintf("%s: %d ranges in %.3g us", p.name, ranges, t["gap 0"]/1000)
		case "half of the bytes":
			halves = t["gap 0"] / float64(ranges)
		}
		if !measurable {
			continue
		}
		x := t["gap 64"] / t["load512"]
		if l := limits[p.name]; l > 0 {
			// As many ranges as bytes have changed, with gap 0: the harder case.
			out = append(out, most("64 KiB, "+p.name+" changed / load-only 512", t["gap 0"]/t["load512"], "x", l, nanoseconds("gap 0", "load512", t)))
		}
		if x > worst {
			worst, worstOf = x, p.name
		}
	}
	if measurable {
		out = append(out, most(any, worst, "x", 5, "worst: "+worstOf))
	}
	copy(b.cur[:n], b.shadow[:n])
	return append(out, most("64 KiB, gap 0, per range", perRange, "ns", 2.5, fmt.Sprintf("%s; %.3g ns if a random half changes", alternating, halves)))
}

// sync compares what Sync and others do with two values in turns.
func (b *bench) sync() []goal {
	const n = 64 * kib
	fused, worstOf := 0.0, ""
	var copied goal
	for _, p := range patterns[:3] {
		copy(b.cur[:n], b.shadow[:n])
		p.apply(b.other[:n], b.shadow[:n])
		mine := slices.Clone(b.shadow[:n])
		// Append looks for the same changes: every second time there are none
		// unless the shadow has something of its own in those places.
		p.change(rand.New(rand.NewPCG(3, 4)), n, func(i int) { b.shadow[i] ^= 0xa5 })
		one, two := b.cur[:n], b.other[:n]
		candidates := []candidate{
			{"Append", func(times int) {
				use(b.best)
				dst, one, two, shadow := b.dst[:0], one, two, b.shadow[:n]
				for range times {
					diff.Append(dst, one, shadow, diff.DefaultGap)
					one, two = two, one
				}
			}},
			{"Sync", func(times int) {
				use(b.best)
				dst, one, two, mine := b.dst[:0], one, two, mine
				for range times {
					diff.Sync(dst, one, mine, diff.DefaultGap)
					one, two = two, one
				}
			}},
			{"diff and copy", func(times int) {
				use(b.best)
				dst, one, two, mine := b.dst[:0], one, two, mine
				for range times {
					diff.Append(dst, one, mine, diff.DefaultGap)
					copy(mine, one)
					one, two = two, one
				}
			}},
		}
		if b.has["avx512"] && wide {
			target := make([]byte, n)
			candidates = append(candidates, b.load512(n), candidate{"copy", func(times int) {
				for range times {
					copy(target, b.cur[:n])
				}
			}})
		}
		t := medians(candidates)
		p.change(rand.New(rand.NewPCG(3, 4)), n, func(i int) { b.shadow[i] ^= 0xa5 })
		if x := t["Sync"] / t["Append"]; x > fused {
			fused, worstOf = x, p.name
		}
		copied = least("64 KiB, diff and full copy / Sync", t["diff and copy"]/t["Sync"], "x", 2.4, over(t["load512"]+t["copy"], t["load512"]), nanoseconds("diff and copy", "Sync", t))
	}
	return []goal{most("64 KiB, Sync / Append, 0, 1 and 16 bytes changed", fused, "x", 1.1, "worst: "+worstOf), copied}
}

// others measures the implementations that would not be chosen here, and counts
// allocations.
func (b *bench) others() []goal {
	const n = 64 * kib
	copy(b.cur[:n], b.shadow[:n])
	candidates := []candidate{b.find("portable", "portable", n, 0, diff.DefaultGap), b.reference(n)}
	second := goal{Name: "equal, 64 KiB: AVX2 / load-only 256", Unit: "x", Result: "n/a", Detail: "no AVX2 on this machine or in this build"}
	if b.has["avx2"] && loads {
		candidates = append(candidates, b.find("avx2", "avx2", n, 0, diff.DefaultGap), b.load256(n))
	}
	t := medians(candidates)
	if b.has["avx2"] && loads {
		second = most(second.Name, t["avx2"]/t["load256"], "x", 1.2, nanoseconds("avx2", "load256", t))
	}

	patterns[3].apply(b.cur[:n], b.shadow[:n])
	mine := slices.Clone(b.shadow[:n])
	use(b.best)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const calls = 100
	for range calls {
		b.dst = diff.Append(b.dst[:0], b.cur[:n], mine, diff.DefaultGap)
		b.dst = diff.Sync(b.dst[:0], b.cur[:n], mine, diff.DefaultGap)
		copy(mine, b.shadow)
	}
	runtime.ReadMemStats(&after)
	return []goal{
		second,
		least("equal, 64 KiB: byte reference / portable", t["reference"]/t["portable"], "x", 12, 0, nanoseconds("reference", "portable", t)),
		most("allocations, Append and Sync, 256 bytes changed", float64(after.Mallocs-before.Mallocs)/calls, "", 0, fmt.Sprintf("%d calls", calls)),
	}
}

// world measures how long stopping the world takes while somebody compares
// 64 MiB. It needs a second core.
func (b *bench) world() []goal {
	const name = "stop the world while 64 MiB are compared"
	if runtime.GOMAXPROCS(0) < 2 {
		return []goal{{Name: name, Unit: "ms", Result: "n/a", Detail: "only one core"}}
	}
	copy(b.cur, b.shadow)
	use(b.best)
	var stop atomic.Bool
	var calls atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		var dst []diff.Range
		for !stop.Load() {
			dst = diff.Append(dst[:0], b.cur[:all], b.shadow[:all], diff.DefaultGap)
			calls.Add(1)
		}
	})
	var took []float64
	var stats runtime.MemStats
	for calls.Load() < 20 || len(took) < samples {
		start := time.Now()
		runtime.ReadMemStats(&stats)
		took = append(took, time.Since(start).Seconds()*1000)
		runtime.Gosched()
	}
	stop.Store(true)
	wg.Wait()
	m := median(took)
	return []goal{most(name, m, "ms", 0.5, fmt.Sprintf("median of %d, 99th percentile %.2f ms", len(took), took[len(took)*99/100]))}
}
