package memfile

import (
	"errors"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

// errFull means that the file has no room: a larger one is needed.
var errFull = errors.New("memory file is full")

// region is a part of the file that gets its disk or memory space as it is used, from the front.
type region struct {
	f         *os.File
	off, size int64
	have      int64
}

const (
	minStep = 16 << 10
	maxStep = 16 << 20
)

// ensure allocates the first n bytes, in growing steps so that it is seldom a system call. A step that does not fit is
// given up for what is needed now.
func (r *region) ensure(n int64) error {
	if n <= r.have {
		return nil
	}
	need := min(pageUp(n), r.size)
	step := min(max(r.have/4, minStep), maxStep)
	want := min(pageUp(max(need, r.have+step)), r.size)
	err := allocate(r.f, r.off+r.have, want-r.have)
	if err != nil && want > need {
		want = need
		err = allocate(r.f, r.off+r.have, want-r.have)
	}
	if err != nil {
		return os.NewSyscallError("fallocate memory file", err)
	}
	r.have = want
	return nil
}

// allocate gives a range that nobody has used yet its space. A file system without fallocate has zeroes written to it.
func allocate(f *os.File, off, n int64) error {
	for {
		switch err := unix.Fallocate(int(f.Fd()), 0, off, n); err {
		case unix.EINTR: // tmpfs, at any signal; the runtime sends itself some
		case unix.EOPNOTSUPP:
			return writeZeroes(f, off, n)
		default:
			return err
		}
	}
}

func writeZeroes(f *os.File, off, n int64) error {
	zeroes := make([]byte, min(n, 1<<20))
	for n > 0 {
		k, err := f.WriteAt(zeroes[:min(n, int64(len(zeroes)))], off)
		if err != nil {
			return err
		}
		off, n = off+int64(k), n-int64(k)
	}
	return nil
}

// arena hands out blocks of a region, counted in units. Freed blocks are kept by size class and used again for it, or for
// something down to half of it; they are never joined: that is what the next file is for.
type arena struct {
	region
	unit int64
	next uint32
	free [][]uint32 // by class index
}

// class is the smallest block size that holds n units: exact up to 8, then four sizes to a doubling.
func class(n uint32) (index int, size uint32) {
	if n <= 8 {
		return int(n), n
	}
	shift := bits.Len32(n-1) - 3
	top := (n - 1) >> shift // 4 to 7
	return 5 + 4*shift + int(top) - 4, (top + 1) << shift
}

// classUnits is the size in units of the block for n bytes.
func classUnits(n int, unit int64) uint32 {
	_, size := class(uint32((int64(n) + unit - 1) / unit))
	return size
}

// alloc returns a block of at least n units. n is a class size.
func (a *arena) alloc(n uint32) (at, size uint32, err error) {
	if n == 0 {
		return 0, 0, nil
	}
	index, _ := class(n)
	for i := index; i <= index+4 && i < len(a.free); i++ {
		if k := len(a.free[i]); k > 0 {
			at = a.free[i][k-1]
			a.free[i] = a.free[i][:k-1]
			return at, classSize(i), nil
		}
	}
	end := int64(a.next+n) * a.unit
	if end > a.size {
		return 0, 0, errFull
	}
	if err := a.ensure(end); err != nil {
		return 0, 0, err
	}
	at = a.next
	a.next += n
	return at, n, nil
}

func (a *arena) release(at, size uint32) {
	if size > 0 {
		i, _ := class(size)
		for len(a.free) <= i {
			a.free = append(a.free, nil)
		}
		a.free[i] = append(a.free[i], at)
	}
}

// classSize is the size of a class, the inverse of class.
func classSize(index int) uint32 {
	if index <= 8 {
		return uint32(index)
	}
	shift, top := (index-5)/4, (index-5)%4+4
	return uint32(top+1) << shift
}

// at is the file offset of a block.
func (a *arena) at(block uint32) int64 { return a.off + int64(block)*a.unit }
