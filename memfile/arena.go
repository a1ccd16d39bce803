package memfile

import (
	"errors"
	iofs "io/fs"
	"math/bits"
	"os"

	"golang.org/x/sys/unix"
)

// errFull means that the file has no room: a larger one is needed.
var errFull = errors.New("memory file is full")

// region is a part of the file that gets its disk or memory space as it is used, from the front.
type region struct {
	*backing
	off, size int64
	have      int64
}

const (
	minStep = 4 << 10  // doubled
	midStep = 16 << 10 // up to here; then a quarter
	maxStep = 16 << 20
)

// ensure allocates the first n bytes, in growing steps so that it is seldom a system call. A step that does not fit is
// given up for what is needed now.
func (r *region) ensure(n int64) error {
	if n <= r.have {
		return nil
	}
	need := min(pageUp(n), r.size)
	step := min(max(r.have/4, min(r.have, midStep), minStep), maxStep)
	want := min(pageUp(max(need, r.have+step)), r.size)
	err := r.allocate(r.off+r.have, want-r.have)
	if err != nil && want > need {
		want = need
		err = r.allocate(r.off+r.have, want-r.have)
	}
	if err == errGone {
		return err
	}
	if err != nil {
		return os.NewSyscallError("fallocate memory file", err)
	}
	r.have = want
	return nil
}

// errGone means that the file is not at its path any more, so that it cannot be given more space.
var errGone = errors.New("memory file is gone")

// backing is the file behind a mapping. Once it is in its place its descriptor is closed, as a server can have more
// services than descriptors, and opened again for the moments in which space is needed.
type backing struct {
	f        *os.File // nil once the file is in its place
	path     string
	dev, ino uint64
}

func (b *backing) allocate(off, n int64) error {
	if b.f != nil {
		return allocate(b.f, off, n)
	}
	f, err := os.OpenFile(b.path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, iofs.ErrNotExist) {
		return errGone
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Dev != b.dev || st.Ino != b.ino {
		return errGone
	}
	return allocate(f, off, n)
}

// settle is called when the file has got its name for good.
func (b *backing) settle(path string, st *unix.Stat_t) error {
	f := b.f
	b.f, b.path, b.dev, b.ino = nil, path, st.Dev, st.Ino
	return f.Close()
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
