package bare

import (
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
	for _, how := range []string{"bell", "scan"} {
		b.Run(how, func(b *testing.B) {
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
				time.Sleep(2 * time.Millisecond) // not one behind the other
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
			b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-us")
			b.ReportMetric(float64(o.f.Stats().Cost)/1e3, "scan-us")
			if err := os.Remove(mem.Name()); err != nil {
				b.Log(err)
			}
			_ = mem.Close()
		})
	}
}
