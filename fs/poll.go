package fs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/commy-project/commyfs/fs/device"
	varsync "github.com/commy-project/commyfs/sync"
)

// What package unix has no names for.
const (
	pollReadNormal  = 0x40
	pollWriteNormal = 0x100
)

// alwaysReady is what the kernel says of a file that cannot be polled.
const alwaysReady = unix.POLLIN | unix.POLLOUT | pollReadNormal | pollWriteNormal

// poll answers poll(2) and its like (S18): as of an attribute of sysfs, a variable can be read and written at any time, and has
// POLLPRI and POLLERR when it has another value than the descriptor has read, or none was read; for who does not ask for POLLPRI,
// Go's runtime for instance, which polls every file that it opens, it is as any other file. It looks at memory only: some who
// ask stop all their threads meanwhile.
func (f *FS) poll(in *device.PollIn) (revents uint32, status fuse.Status) {
	if isControlFh(in.Fh) {
		return f.pollControl(in), fuse.OK
	}
	if in.Events&unix.POLLPRI == 0 {
		return alwaysReady, fuse.OK
	}
	h := f.handles.get(in.Fh)
	if h == nil {
		return alwaysReady, fuse.OK
	}
	if h.changed(in) {
		return alwaysReady | unix.POLLPRI | unix.POLLERR, fuse.OK
	}
	return alwaysReady, fuse.OK
}

// changed reports whether the descriptor's file has another value than was read, and sees that the kernel is told when it has.
func (h *handle) changed(in *device.PollIn) bool {
	n := h.fs.handles.node(h.node)
	v := n.now
	if v == nil {
		now := h.fs.node(h.node)
		if v, _ = now.(*varsync.Variable); v == nil {
			return now == nil || n.orphan != nil // of a draft there is nothing to tell yet
		}
	}
	if in.Flags&device.PollNotify != 0 {
		h.fs.awaits(h, v.ID(), in.Kh)
	}
	if shown, ok := h.fs.pages.Value(h.node); ok && h.paged {
		// What is read from the page cache nobody tells us: of each version it is told once.
		return v.Gone() || h.seen.Swap(shown.Version) != shown.Version
	}
	return v.Gone() || v.Current().Version != h.seen.Load()
}

// awaiting is what a descriptor's poller waits for.
type awaiting struct{ node, file uint64 }

// awaits has the kernel told of the next change, until the descriptor is closed.
func (f *FS) awaits(h *handle, node, file uint64) {
	f.kernel.AwaitChange(node, file)
	if h.polled != nil { // whoever polls a descriptor has it open
		h.polled.SetPoll(file)
	}
	a := &awaiting{node, file}
	if before := h.awaits.Swap(a); before != nil && *before != *a {
		f.kernel.EndAwait(before.node, before.file)
	}
}

func (f *FS) endAwait(h *handle) {
	if a := h.awaits.Load(); a != nil {
		f.kernel.EndAwait(a.node, a.file)
	}
}

// pollControl answers for a file of [controlName].
func (f *FS) pollControl(in *device.PollIn) uint32 {
	h, ok := f.control.handle(in.Fh).(*eventHandle)
	if !ok {
		return alwaysReady
	}
	if in.Flags&device.PollNotify != 0 {
		h.s.await(in.Fh, in.Kh)
	}
	if h.r.Ready() {
		return unix.POLLIN | pollReadNormal
	}
	return 0
}

// disconnected is called when the kernel has ended the connection: nobody waits any more.
func (f *FS) disconnected() {
	f.streams.end()
	for _, unique := range f.requests.uniques() {
		f.interrupt(unique)
	}
}
