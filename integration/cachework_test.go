package integration

import (
	le "encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Processes that write and read one variable as fast as they can, and know from memory that they share what a reader must find
// at least. The test binary is their program, too: see TestMain.

// roleEnv says that the test binary is such a process.
const roleEnv = "COMMYFS_IT_ROLE"

// shared is what the processes know of each other.
type shared struct {
	next  atomic.Uint64    // the last number that was written; changed under a lock
	acked atomic.Uint64    // the last that was acknowledged to its writer
	seen  [4]atomic.Uint64 // the last that was read, by mount
	kills atomic.Uint64    // of processes of the mounts: a request can fail with each
	stop  atomic.Bool
}

func mapShared(path string) *shared {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		panic(err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return (*shared)(unsafe.Pointer(unsafe.SliceData(mem)))
}

// wordsOf is the value of a number: every word of it tells that it belongs to that one. sizes is how many sizes there are.
func wordsOf(buf []byte, n uint64, sizes int) []byte {
	buf = buf[:0]
	for i := range words(n, sizes) {
		buf = le.LittleEndian.AppendUint64(buf, n*uint64(2*i+1))
	}
	return buf
}

func words(n uint64, sizes int) int { return 8 + int(n)%sizes }

// checkWords returns the number of a value, or false if it is not whole.
func checkWords(v []byte, sizes int) (uint64, bool) {
	if len(v) < 8 {
		return 0, false
	}
	n := le.LittleEndian.Uint64(v)
	if len(v) != 8*words(n, sizes) {
		return n, false
	}
	for i := 8; i < len(v); i += 8 {
		if le.LittleEndian.Uint64(v[i:]) != n*uint64(i/4+1) {
			return n, false
		}
	}
	return n, true
}

// role does what the environment says, and reports whether it says anything.
func role() bool {
	switch os.Getenv(roleEnv) {
	case "cache-writer":
		cacheWriter(os.Args[1], os.Args[2], os.Args[3], atoi(os.Args[4]))
	case "cache-reader":
		cacheReader(os.Args[1], os.Args[2], atoi(os.Args[3]), atoi(os.Args[4]), atoi(os.Args[5]))
	default:
		return false
	}
	return true
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// cacheWriter writes one number after the other, in one of two ways, until it is told to stop. Writers take turns.
func cacheWriter(mem, path, how string, sizes int) {
	s := mapShared(mem)
	lock, err := os.OpenFile(mem, os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	var edits *os.File
	if how == "edit" {
		if edits, err = os.OpenFile(path, os.O_WRONLY, 0); err != nil {
			panic(err)
		}
	}
	buf := make([]byte, 0, 4096)
	count, failed, worst := 0, uint64(0), time.Duration(0)
	for !s.stop.Load() {
		for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
			err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
		}
		if err != nil {
			panic(err)
		}
		n := s.next.Add(1)
		buf = wordsOf(buf, n, sizes)
		began := time.Now()
		for {
			if edits != nil {
				if _, err = edits.WriteAt(buf, 0); err == nil {
					err = edits.Sync()
				}
			} else {
				err = os.WriteFile(path, buf, 0)
			}
			if err == nil {
				break
			}
			if failed++; !errors.Is(err, syscall.EIO) || failed > s.kills.Load() {
				panic(err)
			}
		}
		worst = max(worst, time.Since(began))
		s.acked.Store(n)
		count++
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_UN); err != nil {
			panic(err)
		}
		time.Sleep(300 * time.Microsecond) // the readers are to read from the cache, too
	}
	fmt.Printf("writes %d slowest %s\n", count, worst)
}

// minChanges is how often a reader wants to have found another value, or what it finds says little.
const minChanges = 50

// cacheReader reads so often through one descriptor, and more often if there is little that changes. It sums up what it finds.
func cacheReader(mem, path string, mount, reads, sizes int) {
	s := mapShared(mem)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	buf := make([]byte, 4096)
	var stale, backwards, torn, empty, changes int
	var episode time.Time
	failed := uint64(0)
	episodes := []int64{} // when there was something stale, and nothing shortly before
	last, done := uint64(0), 0
	for s.acked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	began := time.Now()
	for ; !s.stop.Load() && (done < reads || changes < minChanges && (done%4096 != 0 || time.Since(began) < time.Minute)); done++ {
		acked, seen := s.acked.Load(), s.seen[mount].Load()
		k, err := unix.Pread(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR): // the kernel has not taken a size for long
			continue
		case errors.Is(err, unix.EIO) && failed < s.kills.Load(): // the process that died had the request
			failed++
			continue
		}
		if err != nil {
			panic(err)
		}
		n, whole := checkWords(buf[:k], sizes)
		switch {
		case k == 0:
			empty++
			continue
		case !whole:
			if torn++; torn <= 3 {
				fmt.Printf("torn: %d bytes %x\n", k, buf[:k])
			}
			continue
		case n < acked:
			stale++
			now := time.Now()
			if now.Sub(episode) > 10*time.Millisecond {
				episodes = append(episodes, now.UnixMilli())
			}
			episode = now
		}
		if n < seen {
			backwards++
		}
		if n > last {
			changes++
			last = n
			for {
				old := s.seen[mount].Load()
				if n <= old || s.seen[mount].CompareAndSwap(old, n) {
					break
				}
			}
		}
	}
	each := time.Since(began) / time.Duration(max(done, 1))
	fmt.Println("stale at", episodes)
	fmt.Printf("reads %d changes %d stale %d backwards %d torn %d empty %d ns %d\n", done, changes, stale, backwards, torn, empty, each)
}
