package offline

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// logFile is the file of records. The space for the next ones is allocated ahead, so that a full disk is found before anything
// is written, and what is said of entries that are there always has room.
type logFile struct {
	path string
	header
	f     *os.File
	end   int64  // of the last record
	begin int64  // end of the headers
	next  uint64 // number of the next record
	room  int64  // up to where space is allocated

	syncing  sync.Mutex // held during fsync; guards the following
	synced   int64
	replaced bool  // by a log that is on the disk
	broken   error // of an fsync: the kernel tells it once, and nobody knows what is on the disk
}

// reserve is the space that is kept for records about entries.
const reserve = 64 << 10

// create makes a log of records, which takes the place of the one at path once it is on the disk.
func create(path string, h header, payloads func(*logFile) error) (*logFile, error) {
	_, _ = rand.Read(h.salt[:]) // does not fail
	l := &logFile{path: path, header: h, next: 1}
	tmp := path + ".new"
	var err error
	if l.f, err = os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return nil, noSpace(err)
	}
	err = func() error {
		var b []byte
		for range headerCopies {
			b = l.frame(b, typeHeader, l.next, l.header.encode())
			l.next++
		}
		if err := l.write(b); err != nil {
			return err
		}
		l.begin = l.end
		if payloads != nil {
			if err := payloads(l); err != nil {
				return err
			}
		}
		if err := l.allocate(0); err != nil {
			return err
		}
		if err := l.f.Sync(); err != nil {
			return err
		}
		l.synced = l.end
		if err := os.Rename(tmp, path); err != nil {
			return err
		}
		return syncDir(filepath.Dir(path))
	}()
	if err != nil {
		_ = l.f.Close()
		_ = os.Remove(tmp)
		return nil, noSpace(err)
	}
	return l, nil
}

// noSpace is err in the terms of [ErrNoSpace], if it says that.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}

// found is what a log was found to have.
type found struct {
	records []record
	torn    int64 // bytes behind the last record
	damaged []gap
}

// gap is a place where records are missing: before the record of this index.
type gap struct {
	index int
	bytes int64
}

// errNoHeader says that both headers are damaged.
var errNoHeader = errors.New("the log of the offline queue has no header that can be read")

// read takes a log apart. What is behind the last record is torn: nobody was told that it is stored, or it was damaged since.
func read(b []byte) (h header, f found, err error) {
	err = errNoHeader
	for at := 0; at >= 0 && err == errNoHeader; at = nextMagic(b, at+1) {
		if r, e := h.unframe(b[at:], int64(at)); e == nil && r.typ == typeHeader {
			err = h.decode(r.payload)
		}
	}
	if err != nil {
		return h, f, err
	}
	number, at := uint64(1), 0
	lost := 0 // where what is missing begins
	for at >= 0 && at < len(b) {
		r, err := h.unframe(b[at:], int64(at))
		if err != nil || r.number < number {
			at = nextMagic(b, at+1)
			continue
		}
		if r.number != number || at != lost {
			f.damaged = append(f.damaged, gap{len(f.records), int64(at - lost)})
		}
		f.records = append(f.records, r)
		at += r.size
		number, lost = r.number+1, at
	}
	f.torn = int64(len(b) - lost)
	return h, f, nil
}

func nextMagic(b []byte, from int) int {
	var magic [4]byte
	binary.LittleEndian.PutUint32(magic[:], recordMagic)
	if from >= len(b) {
		return -1
	}
	i := bytes.Index(b[from:], magic[:])
	if i < 0 {
		return -1
	}
	return from + i
}

// open opens a log that is there, and cuts off what is torn.
func open(path string) (*logFile, found, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, found{}, err
	}
	b, err := io.ReadAll(file)
	if err != nil {
		_ = file.Close()
		return nil, found{}, err
	}
	h, f, err := read(b)
	if err != nil {
		_ = file.Close()
		return nil, found{}, err
	}
	l := &logFile{path: path, header: h, f: file, end: int64(len(b)) - f.torn, next: 1}
	for _, r := range f.records {
		if r.typ == typeHeader {
			l.begin = r.off + int64(len(r.payload))
		}
		l.next = r.number + 1
	}
	if f.torn > 0 {
		if err = file.Truncate(l.end); err == nil {
			err = file.Sync()
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, found{}, err
	}
	l.synced = l.end
	return l, f, nil
}

// allocate sees to it that n more bytes, and the reserve, have space.
func (l *logFile) allocate(n int64) error {
	want := l.end + n + reserve
	if want <= l.room {
		return nil
	}
	// A bit more, so that it is not asked for each time; without that if there is no more.
	for _, more := range []int64{reserve, 0} {
		err := unix.Fallocate(int(l.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, want+more)
		switch {
		case err == nil:
			l.room = want + more
			return nil
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil // then writing finds out
		case more == 0:
			return noSpace(err)
		}
	}
	return nil
}

// add appends a record. It is not on the disk before sync.
func (l *logFile) add(t recordType, payload []byte) (off int64, err error) {
	b := l.frame(nil, t, l.next, payload)
	off = l.end + int64(len(b)-len(payload))
	if err := l.write(b); err != nil {
		return 0, err
	}
	l.next++
	return off, nil
}

func (l *logFile) write(b []byte) error {
	if _, err := l.f.WriteAt(b, l.end); err != nil {
		_ = l.f.Truncate(l.end) // else it is torn
		return noSpace(err)
	}
	l.end += int64(len(b))
	return nil
}

// sync returns when what ends at end is on the disk. Who comes while somebody does that is served by the next one to.
func (l *logFile) sync(end func() int64, need int64) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	switch {
	case l.replaced, l.synced >= need:
		return nil
	case l.broken != nil:
		return l.broken
	}
	upTo := end()
	if err := unix.Fdatasync(int(l.f.Fd())); err != nil {
		l.broken = noSpace(fmt.Errorf("fsync of the offline queue: %w", err))
		return l.broken
	}
	l.synced = upTo
	return nil
}

// empty takes all records out but the headers. syncing must be held.
func (l *logFile) empty() error {
	if err := l.f.Truncate(l.begin); err != nil {
		return err
	}
	l.end, l.synced, l.room, l.next = l.begin, 0, 0, headerCopies+1
	return l.f.Sync() // before other records are where those were
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
