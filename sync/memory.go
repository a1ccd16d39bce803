package sync

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// MemoryStat describes a service's memory as a file of bytes: a bare service's bytes, or the memory file of a named one.
type MemoryStat struct {
	Size  int64
	MTime int64  // Unix nanoseconds
	Inode uint64 // of a memory file: another one takes its place now and then. 0: it is always the same
	Bare  bool
}

// MemoryStat describes the service's memory. There is none if the server is on another host, or values come over the connection
// for another reason. It looks at this host alone.
func (s *Service) MemoryStat() (MemoryStat, bool) {
	if !s.c.Welcome().Local {
		return MemoryStat{}, false
	}
	if size := s.Bare(); size != 0 {
		return MemoryStat{Size: size, MTime: s.MTime(), Bare: true}, true
	}
	a := s.mapped.Load()
	if a == nil {
		return MemoryStat{}, false
	}
	var st unix.Stat_t
	if err := unix.Lstat(a.path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return MemoryStat{}, false
	}
	return MemoryStat{Size: st.Size, MTime: st.Mtim.Nano(), Inode: st.Ino}, true
}

// OpenMemory opens the service's memory, to read or, that of a bare service, also to write.
func (s *Service) OpenMemory(ctx context.Context, write bool) (*os.File, error) {
	if s.Bare() != 0 {
		memory, bell, err := s.OpenBare(ctx, write)
		if err != nil {
			return nil, err
		}
		_ = bell.Close()
		return memory, nil
	}
	a := s.mapped.Load()
	switch {
	case write:
		return nil, model.ErrDenied
	case a == nil:
		return nil, model.ErrNotFound
	}
	return memfile.OpenFile(a.path, s.id)
}
