package fs

import (
	"sync"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

func TestRequests(t *testing.T) {
	var f FS
	f.requests.init()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 100 {
				h := fuse.InHeader{Unique: uint64(2 * (100*i + k)), NodeId: uint64(i), Caller: fuse.Caller{Pid: uint32(k)}}
				var status fuse.Status
				outer := f.begin("write", &h)
				inner := f.begin("open", &h)
				f.end(inner, &status)
				f.end(outer, &status)
			}
		})
	}
	wg.Wait()
	for i := range f.requests.shards {
		s := &f.requests.shards[i]
		if len(s.free) != len(s.slots) {
			t.Errorf("shard %d: %d slots, %d of them free", i, len(s.slots), len(s.free))
		}
		for _, r := range s.slots {
			if r != (request{}) {
				t.Errorf("left: %+v", r)
			}
		}
	}
	h := &fuse.InHeader{Unique: 2}
	if n := testing.AllocsPerRun(100, func() {
		var status fuse.Status
		defer f.end(f.begin("read", h), &status)
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func BenchmarkRequests(b *testing.B) {
	var f FS
	f.requests.init()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		h := &fuse.InHeader{}
		for pb.Next() {
			h.Unique += 2
			func() {
				var status fuse.Status
				defer f.end(f.begin("read", h), &status)
			}()
		}
	})
}
