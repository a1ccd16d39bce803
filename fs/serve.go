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

// What a kernel must be able to do for a mount to outlive its process.
const (
	resendBit  = 1 << 63 // in the number of a request that is sent again
	hasResend  = 1 << 39 // FUSE_HAS_RESEND, Linux 6.9
	epochMinor = 44      // FUSE_NOTIFY_INC_EPOCH, Linux 6.16
)

// outlives reports whether the kernel goes on with a mount whose process has died: it sends again what has no answer, and looks
// all names up again.
func outlives(s *device.Server) bool {
	in := s.KernelSettings()
	return in.Flags64()&hasResend != 0 && in.SupportsVersion(7, epochMinor)
}
