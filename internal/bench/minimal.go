package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// ServeMinimal serves the yardstick: directories of files in memory, DIRECT_IO like ours, names and attributes cached
// for a second as libfuse does it, and nothing else. It prints "mounted DIR" to out and returns when ctx ends or it is
// unmounted.
func ServeMinimal(ctx context.Context, dir string, out io.Writer) error {
	cached := time.Second
	server, err := fusefs.Mount(dir, &minimalDir{}, &fusefs.Options{
		EntryTimeout: &cached,
		AttrTimeout:  &cached,
		UID:          uint32(syscall.Geteuid()),
		GID:          uint32(syscall.Getegid()),
		MountOptions: fuse.MountOptions{FsName: "minimal", Name: "commyfs-bench", DirectMount: syscall.Geteuid() == 0},
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		server.Wait()
	}()
	if _, err := fmt.Fprintf(out, "mounted %s\n", dir); err != nil {
		return errors.Join(err, server.Unmount())
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	if err := server.Unmount(); err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	<-gone
	return nil
}

type minimalDir struct{ fusefs.Inode }

var _ fusefs.NodeCreater = (*minimalDir)(nil)

// Create makes a file. Looking it up is what go-fuse does by itself.
func (d *minimalDir) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	f := &minimalFile{}
	out.Mode = syscall.S_IFREG | mode&0o777
	return d.NewPersistentInode(ctx, f, fusefs.StableAttr{Mode: syscall.S_IFREG}), nil, fuse.FOPEN_DIRECT_IO, 0
}

var _ fusefs.NodeMkdirer = (*minimalDir)(nil)

// Mkdir makes a directory, which is like the one above.
func (d *minimalDir) Mkdir(ctx context.Context, _ string, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	out.Mode = syscall.S_IFDIR | mode&0o777
	return d.NewPersistentInode(ctx, &minimalDir{}, fusefs.StableAttr{Mode: syscall.S_IFDIR}), 0
}

type minimalFile struct {
	fusefs.Inode
	mu   sync.Mutex // guards the following
	data []byte
}

var _ fusefs.NodeOpener = (*minimalFile)(nil)

// Open keeps the page cache out, and has no FLUSH sent for what is only read, as commyfs does.
func (f *minimalFile) Open(_ context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE == syscall.O_RDONLY {
		return nil, fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH, 0
	}
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

var _ fusefs.NodeReader = (*minimalFile)(nil)

// Read copies, as a file system must if the value can change in the meantime.
func (f *minimalFile) Read(_ context.Context, _ fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	if off < int64(len(f.data)) {
		n = copy(dest, f.data[off:])
	}
	return fuse.ReadResultData(dest[:n]), 0
}

// minimalSize limits the size of a file, so that a seek cannot fill the memory.
const minimalSize = 1 << 20

var _ fusefs.NodeWriter = (*minimalFile)(nil)

// Write changes the file in place.
func (f *minimalFile) Write(_ context.Context, _ fusefs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off+int64(len(data)) > minimalSize {
		return 0, syscall.EFBIG
	}
	f.resize(max(len(f.data), int(off)+len(data)))
	return uint32(copy(f.data[off:], data)), 0
}

func (f *minimalFile) resize(size int) {
	f.data = append(f.data[:min(size, len(f.data))], make([]byte, max(0, size-len(f.data)))...)
}

var _ fusefs.NodeFsyncer = (*minimalFile)(nil)

// Fsync has nothing to wait for.
func (f *minimalFile) Fsync(context.Context, fusefs.FileHandle, uint32) syscall.Errno { return 0 }

var _ fusefs.NodeGetattrer = (*minimalFile)(nil)

// Getattr tells the size.
func (f *minimalFile) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.mu.Lock()
	defer f.mu.Unlock()
	out.Mode, out.Size = syscall.S_IFREG|0o644, uint64(len(f.data))
	return 0
}

var _ fusefs.NodeSetattrer = (*minimalFile)(nil)

// Setattr truncates; nothing else can be set.
func (f *minimalFile) Setattr(ctx context.Context, h fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if size > minimalSize {
			return syscall.EFBIG
		}
		f.mu.Lock()
		f.resize(int(size))
		f.mu.Unlock()
	}
	return f.Getattr(ctx, h, out)
}
