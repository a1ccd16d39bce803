package kernel

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const blockSize = 4096

// device is the way to tell the kernel.
type device struct{ fd int }

// FD is the descriptor that [Cache.Connect] was given.
func (d *device) FD() int { return d.fd }

// Answer ends a request for its handler; what the handler answers then reaches nobody.
func (d *device) Answer(unique uint64, status fuse.Status) error {
	return d.send(int32(status), unique, nil)
}

// Grow makes the kernel take a file for one of at least so many bytes, size > 0. It is given the last byte of a page that it
// does not take for read.
func (d *device) Grow(id uint64, size int64) error {
	if (size-1)%blockSize == 0 {
		size++ // the first byte of a page at the end of the file would be taken for the whole page
	}
	body := make([]byte, 0, 25)
	body = binary.NativeEndian.AppendUint64(body, id)
	body = binary.NativeEndian.AppendUint64(body, uint64(size-1))
	body = binary.NativeEndian.AppendUint32(body, 1)
	body = binary.NativeEndian.AppendUint32(body, 0)
	body = append(body, 0)
	return d.notify(fuse.NOTIFY_STORE_CACHE, body)
}

// ForgetAttr drops cached attributes of a node, and the answer to a question for them that the kernel has asked. It waits for
// nothing.
func (d *device) ForgetAttr(id uint64) {
	const noPages = ^uint64(0)
	_ = d.invalidateInode(id, noPages) // it fails when the mount ends
}

// invalidateInode drops cached attributes of a node, and its pages from an offset on.
func (d *device) invalidateInode(id, off uint64) error {
	return d.notify(fuse.NOTIFY_INVAL_INODE, inodeBody(id, off))
}

func inodeBody(id, off uint64) []byte {
	body := make([]byte, 0, 24)
	body = binary.NativeEndian.AppendUint64(body, id)
	body = binary.NativeEndian.AppendUint64(body, off)
	return binary.NativeEndian.AppendUint64(body, 0) // to the end
}

// invalidateEntry makes the kernel look a name up again. It waits for the lock of the directory, and no signal ends that:
// if the process is killed meanwhile, it takes an abort of the connection. keeps: what has the name keeps it until then, or who is in
// it would have no working directory. Kernels before Linux 6.2 do not know that.
func (d *device) invalidateEntry(k name, keeps bool) error {
	const expireOnly = 1
	flags := uint32(0)
	if keeps {
		flags = expireOnly
	}
	body := make([]byte, 0, 17+len(k.file))
	body = binary.NativeEndian.AppendUint64(body, k.dir)
	body = binary.NativeEndian.AppendUint32(body, uint32(len(k.file)))
	body = binary.NativeEndian.AppendUint32(body, flags)
	body = append(body, k.file...)
	body = append(body, 0)
	return d.notify(fuse.NOTIFY_INVAL_ENTRY, body)
}

// notify writes one notification: a reply to no request, with its code where the error would be.
func (d *device) notify(code int32, body []byte) error { return d.send(code, 0, body) }

// send writes to the kernel. What the kernel does not have, a name or a request that was answered already, is no error.
func (d *device) send(code int32, unique uint64, body []byte) error {
	if err := d.sent(code, unique, body); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// sent is send, and tells what the kernel does not have.
func (d *device) sent(code int32, unique uint64, body []byte) error {
	msg := make([]byte, 0, 16+len(body))
	msg = binary.NativeEndian.AppendUint32(msg, uint32(16+len(body)))
	msg = binary.NativeEndian.AppendUint32(msg, uint32(-code))
	msg = binary.NativeEndian.AppendUint64(msg, unique)
	msg = append(msg, body...)
	for {
		if _, err := unix.Write(d.fd, msg); err != unix.EINTR {
			return err
		}
	}
}
