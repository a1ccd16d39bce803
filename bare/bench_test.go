package bare

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// told passes on what is found.
type told struct {
	f  *File
	ch chan struct{}
}

func (o *told) Found(list []Found) {
	for _, v := range list {
		o.f.Took(v.ID, v.Version+1)
	}
	o.ch <- struct{}{}
}
func (o *told) Stored()      {}
func (o *told) Broken(error) {}

// BenchmarkFound measures from a store into a megabyte to the owner's being told of it.
func BenchmarkFound(b *testing.B) {
	for _, c := range []struct {
		name, how string
		pause     time.Duration
		spin      time.Duration
	}{
		{"bell", "bell", 2 * time.Millisecond, time.Millisecond}, {"bell/10kHz", "bell", 0, 200 * time.Microsecond},
		{"scan", "scan", 2 * time.Millisecond, 5 * time.Millisecond}, {"quiet", "scan", 1200 * time.Millisecond, 50 * time.Millisecond},
	} {
		how := c.how
		b.Run(c.name, func(b *testing.B) {
			d, err := OpenDir(Options{Path: filepath.Join(b.TempDir(), "bare")})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			o := &told{ch: make(chan struct{}, 1)}
			if o.f, err = d.Open(1, 1<<20, o); err != nil {
				b.Fatal(err)
			}
			v := Variable{ID: 1, Off: 4096, Size: 8}
			full := make([]byte, 1<<20)
			for i := range full {
				full[i] = byte(i)
			}
			mem, bell, err := o.f.Handle(true)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := mem.WriteAt(full, 0); err != nil {
				b.Fatal(err)
			}
			if err := o.f.Track(v, full[v.Off:v.Off+8]); err != nil {
				b.Fatal(err)
			}
			o.f.Start()
			m, err := mapFile(mem, 1<<20, unix.PROT_READ|unix.PROT_WRITE)
			if err != nil {
				b.Fatal(err)
			}
			defer unmap(m)
			ring, err := mapFile(bell, bellSize, unix.PROT_READ|unix.PROT_WRITE)
			if err != nil {
				b.Fatal(err)
			}
			defer unmap(ring)
			_ = bell.Close()
			for !o.f.Stats().Writable || how == "bell" && atomic.LoadUint32(word32(ring, offListening)) == 0 {
				time.Sleep(time.Millisecond)
			}
			for len(o.ch) > 0 {
				<-o.ch
			}
			took := make([]time.Duration, 0, b.N)
			for b.Loop() {
				// Not one behind the other, nor when the scan's timer ends.
				time.Sleep(c.pause)
				for next := time.Now().Add(rand.N(c.spin)); time.Now().Before(next); {
				}
				for len(o.ch) > 0 {
					<-o.ch
				}
				began := time.Now()
				atomic.StoreUint64(word64(m, 4096), uint64(began.UnixNano()))
				if how == "bell" {
					atomic.OrUint64(word64(ring, bellHeader), 1<<1)
					atomic.AddUint32(word32(ring, offBell), 1)
					if atomic.LoadUint32(word32(ring, offListening)) != 0 {
						wakeAll(word32(ring, offBell))
					}
				}
				<-o.ch
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2])/1e3, "p50-us")
			b.ReportMetric(float64(took[len(took)*9/10])/1e3, "p90-us")
			b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-us")
			b.ReportMetric(float64(o.f.Stats().Cost)/1e3, "scan-us")
			if err := os.Remove(mem.Name()); err != nil {
				b.Log(err)
			}
			_ = mem.Close()
		})
	}
}

// BenchmarkLongestWait measures how long others wait for a large file at most while all of it is looked at, copied or made longer.
func BenchmarkLongestWait(b *testing.B) {
	const size = MaxSize / 2
	for _, how := range []string{"bell", "removed", "cut", "resized"} {
		b.Run(how, func(b *testing.B) {
			d, err := OpenDir(Options{Path: filepath.Join(b.TempDir(), "bare")})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			o := &told{ch: make(chan struct{}, 1000)}
			if o.f, err = d.Open(1, size, o); err != nil {
				b.Fatal(err)
			}
			mem, bell, err := o.f.Handle(true)
			if err != nil {
				b.Fatal(err)
			}
			defer mem.Close()
			m, err := mapFile(mem, size, unix.PROT_READ|unix.PROT_WRITE)
			if err != nil {
				b.Fatal(err)
			}
			defer unmap(m)
			ring, err := mapFile(bell, bellSize, unix.PROT_READ|unix.PROT_WRITE)
			if err != nil {
				b.Fatal(err)
			}
			defer unmap(ring)
			_ = bell.Close()
			o.f.Start()
			last := Variable{ID: 1, Off: size - 8, Size: 8}
			if err := o.f.Track(last, make([]byte, 8)); err != nil {
				b.Fatal(err)
			}
			for i := 0; i < size; i += PageSize {
				m[i] = byte(i>>12) | 1
			}
			m[size-8] = 1
			<-o.ch
			longest := time.Duration(0)
			for range b.N {
				done := make(chan error, 1)
				go func() {
					var err error
					switch how {
					case "bell":
						for i := 0; i < size; i += PageSize {
							m[i]++
						}
						m[size-8]++
						for i := range bitmapSize / 8 {
							atomic.StoreUint64(word64(ring, bellHeader+8*i), ^uint64(0))
						}
						atomic.AddUint32(word32(ring, offBell), 1)
						wakeAll(word32(ring, offBell))
						<-o.ch
					case "removed":
						if err = os.Remove(mem.Name()); err == nil {
							for err = os.ErrNotExist; err != nil; _, err = os.Stat(mem.Name()) {
								time.Sleep(time.Millisecond)
							}
						}
					case "cut":
						err = os.Truncate(mem.Name(), 0)
						for st, err := mem.Stat(); err == nil && st.Size() < size; st, err = mem.Stat() {
							time.Sleep(time.Millisecond)
						}
						time.Sleep(100 * time.Millisecond) // it is written anew
					case "resized":
						err = o.f.Resize(MaxSize)
					}
					done <- err
				}()
				for err = errors.New("not yet"); err != nil; {
					select {
					case err = <-done:
						if err != nil {
							b.Fatal(err)
						}
					default:
						began := time.Now()
						_ = o.f.Stats()
						longest = max(longest, time.Since(began))
						time.Sleep(20 * time.Microsecond)
					}
				}
			}
			b.ReportMetric(float64(longest)/1e3, "longest-us")
		})
	}
}

// BenchmarkQuiet measures what files take that somebody has open for writing, and into which nothing is stored.
func BenchmarkQuiet(b *testing.B) {
	for _, n := range []int{1, 10, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			d, err := OpenDir(Options{Path: filepath.Join(b.TempDir(), "bare")})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			const size = 1 << 20
			full := bytes.Repeat([]byte("full"), size/4)
			var interval time.Duration
			var last *File
			for i := range uint64(n) {
				o := &told{ch: make(chan struct{}, 10)}
				if o.f, err = d.Open(i+1, size, o); err != nil {
					b.Fatal(err)
				}
				mem, bell, err := o.f.Handle(true)
				if err != nil {
					b.Fatal(err)
				}
				defer mem.Close()
				_ = bell.Close()
				if _, err := mem.WriteAt(full[:min(size, 100*size/n)], 0); err != nil {
					b.Fatal(err)
				}
				if err := o.f.Track(Variable{ID: 1, Off: 0, Size: 8}, full[:8]); err != nil {
					b.Fatal(err)
				}
				o.f.Start()
				last = o.f
			}
			for !last.Stats().Writable {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(2 * busyFor)
			cpu := func() time.Duration {
				var r unix.Rusage
				if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
					b.Fatal(err)
				}
				return time.Duration(r.Utime.Nano() + r.Stime.Nano())
			}
			was, began := cpu(), time.Now()
			for range b.N {
				time.Sleep(time.Second)
			}
			b.ReportMetric(100*float64(cpu()-was)/float64(time.Since(began)), "%cpu")
			interval = last.Stats().Interval
			b.ReportMetric(float64(interval)/1e6, "whole-ms")
		})
	}
}
