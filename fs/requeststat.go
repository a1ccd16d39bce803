package fs

import (
	"sync/atomic"
	"time"
)

// epoch is what times of requests are counted from.
var epoch = time.Now()

// opNames are the kinds of requests that are counted apart.
var opNames = [...]string{
	"read", "write", "open", "release", "flush", "fsync", "lookup", "getattr", "setattr", "create", "mknod", "mkdir", "unlink", "rmdir",
	"rename", "opendir", "readdir", "readdirplus", "getxattr", "access", "statfs", "copy_file_range", "readlink", "control", "other",
}

const numOps = len(opNames)

// opNumber is the index of a kind in opNames. It is asked for with each request.
func opNumber(op string) int {
	for i := range opNames[:numOps-1] {
		if opNames[i] == op {
			return i
		}
	}
	return numOps - 1
}

// opStat is what the requests of a kind have taken.
type opStat struct {
	op    string
	count uint64
	total time.Duration
	most  time.Duration
}

func (o *opStat) add(d time.Duration) {
	o.count++
	o.total += d
	o.most = max(o.most, d)
}

// stats adds up what the requests have taken that have ended.
func (rs *requests) stats() []opStat {
	sum := make([]opStat, numOps)
	for i := range rs.shards {
		s := &rs.shards[i]
		s.mu.Lock()
		for n, o := range s.ops {
			sum[n].count += o.count
			sum[n].total += o.total
			sum[n].most = max(sum[n].most, o.most)
		}
		s.mu.Unlock()
	}
	for n := range sum {
		sum[n].op = opNames[n]
	}
	return sum
}

// running is how many requests are being handled.
func (rs *requests) running() (n int) {
	for i := range rs.shards {
		s := &rs.shards[i]
		s.mu.Lock()
		n += len(s.slots) - len(s.free)
		s.mu.Unlock()
	}
	return n
}

// blocked is how many requests wait for something to happen: an event, or a lock.
func (rs *requests) blocked() (n int) {
	for i := range rs.shards {
		s := &rs.shards[i]
		s.mu.Lock()
		for k := range s.slots {
			if s.slots[k].blocked {
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
}

// traffic counts what goes through the mount.
type traffic struct {
	read, written atomic.Int64 // bytes
	connections   atomic.Int64 // made after the first
}

// connected counts connections.
func (f *FS) connected(made bool) {
	if made {
		f.traffic.connections.Add(1)
	}
}
