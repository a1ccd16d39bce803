package fs

import (
	"io"
	"log"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/fs/device"
)

// newServer makes what reads requests from a descriptor of /dev/fuse, which it closes in the end. init is the kernel's INIT
// request if another process has answered it already, else nil: the kernel makes it once.
func newServer(f *FS, fd int, init []byte) (*device.Server, error) {
	return device.New(f, fd, device.Options{
		Mount: fuse.MountOptions{
			MaxWrite:          maxWrite,
			ExtraCapabilities: fuse.CAP_READDIRPLUS_AUTO,
			// Reads into the page cache are made by the thread that asks for them, which waits meanwhile: what it is doing can be
			// seen. See copies.
			DisabledCapabilities: fuse.CAP_ASYNC_READ,
			MaxBackground:        64,
			EnableLocks:          true,
			Logger:               log.New(io.Discard, "", 0),
			Name:                 "commyfs",
		},
		Init:   init,
		Poll:   f.poll,
		Waits:  func(h *fuse.InHeader) bool { return isControl(h.NodeId) },
		Gone:   f.disconnected,
		Logger: f.log,
	})
}
