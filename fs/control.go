package fs

import (
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// The root has a directory that is not listed, [controlName]: what the mount tells of itself (S3). Nothing in it waits for the
// network but a read of its events. The kernel keeps neither names nor attributes of what is in it.
const controlName = ".commy"

// Node and handle numbers that nothing else has: unshared files have the top bit and a small number.
const (
	controlBits = 5 << 61 // the top three bits of a node's number; behind them, the id of which it is the link in by-id
	controlFile = 1 << 60 // it is no link, but the file of that number
	controlFh   = 1 << 61 // the top three bits of a descriptor's
)

func isControl(node uint64) bool { return node>>61 == controlBits>>61 }
func isControlFh(fh uint64) bool { return fh>>61 == controlFh>>61 }

// controlNode is a file, directory or link in [controlName].
type controlNode struct {
	id     uint64
	name   string
	mode   uint32 // with its type
	parent uint64
	text   func(*FS) []byte // of a text file
	query  *eventQuery      // of a stream of events
}

// The numbers of what is always there. Streams of events that are asked for in more words come behind.
const (
	controlRoot = controlBits | controlFile | iota
	controlByID
	controlStatus
	controlStats
	controlServices
	controlConfig
	controlLocks
	controlLog
	controlEvents
	controlMore
)

// ID implements [varsync.Node].
func (n *controlNode) ID() uint64 { return n.id }

func (n *controlNode) is(kind uint32) bool { return n.mode&syscall.S_IFMT == kind }

// What tells of names and values is the mount's owner's and root's alone: in the tree they may be hidden from others.
func fixedNodes() []*controlNode {
	return []*controlNode{
		{id: controlRoot, name: controlName, mode: syscall.S_IFDIR | 0o555, parent: rootID},
		{id: controlByID, name: "by-id", mode: syscall.S_IFDIR | 0o500, parent: controlRoot},
		{id: controlStatus, name: "status", mode: syscall.S_IFREG | 0o444, parent: controlRoot, text: (*FS).statusText},
		{id: controlStats, name: "stats", mode: syscall.S_IFREG | 0o444, parent: controlRoot, text: (*FS).statsText},
		{id: controlServices, name: "services", mode: syscall.S_IFREG | 0o400, parent: controlRoot, text: (*FS).servicesText},
		{id: controlConfig, name: "config", mode: syscall.S_IFREG | 0o400, parent: controlRoot, text: (*FS).configText},
		{id: controlLocks, name: "locks", mode: syscall.S_IFREG | 0o400, parent: controlRoot, text: (*FS).locksText},
		{id: controlLog, name: "log", mode: syscall.S_IFREG | 0o400, parent: controlRoot, text: (*FS).logText},
		{id: controlEvents, name: "events", mode: syscall.S_IFREG | 0o400, parent: controlRoot, query: &eventQuery{}},
	}
}

// control is what [controlName] has.
type control struct {
	since time.Time      // when the mount was made
	fixed []*controlNode // by number

	mu    sync.Mutex // guards the following
	more  map[uint64]*controlNode
	names map[string]*controlNode // of those
	last  uint64
	open  map[uint64]controlHandle
	fh    uint64
	shown map[uint64]shownText // of text files
}

// controlHandle is an open file of [controlName].
type controlHandle interface{ close() }

func (c *control) init() {
	c.since, c.last, c.fixed = time.Now(), controlMore, fixedNodes()
	c.more, c.names, c.open = map[uint64]*controlNode{}, map[string]*controlNode{}, map[uint64]controlHandle{}
	c.shown = map[uint64]shownText{}
}

// node finds what a number stands for, nil if it is gone.
func (c *control) node(id uint64) *controlNode {
	if id&controlFile == 0 {
		return &controlNode{id: id, mode: syscall.S_IFLNK | 0o777, parent: controlByID}
	}
	if i := id - controlRoot; i < uint64(len(c.fixed)) {
		return c.fixed[i]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.more[id]
}

// stream returns the node of a stream of events that was asked for by a name.
func (c *control) stream(name string, q *eventQuery) *controlNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.names[name]
	if n == nil {
		c.last++
		n = &controlNode{id: c.last, name: name, mode: syscall.S_IFREG | 0o400, parent: controlRoot, query: q}
		c.more[n.id], c.names[name] = n, n
	}
	return n
}

func (c *control) forgotten(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.more[id]; n != nil {
		delete(c.more, id)
		delete(c.names, n.name)
	}
}

func (c *control) add(h controlHandle) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fh++
	c.open[controlFh|c.fh] = h
	return controlFh | c.fh
}

func (c *control) handle(fh uint64) controlHandle {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open[fh]
}

func (c *control) release(fh uint64) {
	c.mu.Lock()
	h := c.open[fh]
	delete(c.open, fh)
	c.mu.Unlock()
	if h != nil {
		h.close()
	}
}

// findControl finds a name in a directory of [controlName].
func (f *FS) findControl(dir uint64, name string) *controlNode {
	for _, n := range f.control.fixed {
		if n.parent == dir && n.name == name {
			return n
		}
	}
	switch dir {
	case controlRoot:
		if q, ok := parseEventQuery(name); ok {
			return f.control.stream(name, q)
		}
	case controlByID:
		id, err := strconv.ParseUint(name, 10, 64)
		if err != nil || strconv.FormatUint(id, 10) != name || id >= controlFile || f.linkTo(id) == "" {
			return nil
		}
		return f.control.node(controlBits | id)
	}
	return nil
}

// lookupControl answers a lookup in [controlName], and of itself.
func (f *FS) lookupControl(h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	n := f.findControl(h.NodeId, name)
	if n == nil {
		return fuse.ENOENT
	}
	out.NodeId = n.id
	f.kernel.Learn(h.Pid, n.id, nil)
	f.controlAttr(n, h.Pid, &out.Attr)
	return fuse.OK
}

func (f *FS) controlAttr(n *controlNode, tid uint32, out *fuse.Attr) {
	f.attr(n, out)
	setTimes(out, f.control.since.UnixNano())
	switch {
	case n.text != nil:
		setSize(out, f.textSize(n))
	case n.query != nil:
		setSize(out, f.streamSize(n, tid))
	case n.is(syscall.S_IFLNK):
		setSize(out, int64(len(f.linkTo(n.id&^controlBits))))
	}
}

func (f *FS) getControlAttr(in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.control.node(in.NodeId)
	if n == nil {
		return fuse.Status(syscall.ESTALE)
	}
	f.controlAttr(n, in.Pid, &out.Attr)
	if in.Flags()&fuse.FUSE_GETATTR_FH != 0 { // only lseek(2) asks so, for the end
		if h, ok := f.control.handle(in.Fh()).(*eventHandle); ok {
			setSize(&out.Attr, int64(h.r.Follow()))
		}
	}
	return fuse.OK
}

// upFromByID leads from a link to the root.
const upFromByID = "../../"

// linkTo is where a node is, from by-id, empty if it is not known.
func (f *FS) linkTo(id uint64) string {
	const up = upFromByID
	switch n := f.c.Node(id).(type) {
	case *varsync.Tenant:
		return up + names.Path([]string{n.Name()})
	case *varsync.Service:
		return up + names.Path([]string{n.Tenant().Name(), n.Name()})
	case *varsync.Dir:
		return up + names.Path(append([]string{n.Service().Tenant().Name(), n.Service().Name()}, strings.Split(n.Name(), "/")...))
	case *varsync.Variable:
		return up + names.Path(pathOf(n))
	}
	return ""
}

// Readlink reads the links of by-id: a name that changes is followed.
func (f *FS) Readlink(_ <-chan struct{}, h *fuse.InHeader) (to []byte, status fuse.Status) {
	defer f.end(f.begin("readlink", h), &status)
	if !isControl(h.NodeId) {
		return nil, fuse.EINVAL
	}
	if err := f.may(h, f.control.node(controlByID), mayExec); err != nil {
		return nil, f.errno("readlink", err)
	}
	path := f.linkTo(h.NodeId &^ controlBits)
	if path == "" {
		return nil, fuse.ENOENT
	}
	return []byte(path), fuse.OK
}

// openControl opens a file.
func (f *FS) openControl(interrupt <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) error {
	n := f.control.node(in.NodeId)
	if n == nil {
		return syscall.ESTALE
	}
	if err := f.mayOpen(&in.InHeader, n, in.Flags); err != nil {
		return err
	}
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	switch {
	case n.text != nil:
		out.Fh = f.control.add(f.openText(n))
		return nil
	case n.query == nil:
		return syscall.EINVAL
	}
	h, err := f.openEvents(interrupt, n.query)
	if err != nil {
		return err
	}
	h.node, h.process = n.id, f.callers.process(in.Pid)
	out.Fh = f.control.add(h)
	h.fh = out.Fh
	return nil
}

// readControl reads a file. By way of the page cache it may only be mapped.
func (f *FS) readControl(interrupt <-chan struct{}, in *fuse.ReadIn, buf []byte) (res fuse.ReadResult, status fuse.Status) {
	t := f.begin("control", &in.InHeader)
	defer f.end(t, &status)
	switch h := f.control.handle(in.Fh).(type) {
	case *textHandle:
		if in.ReadFlags&fuse.READ_LOCKOWNER == 0 && f.copiesNow(in.Pid) {
			return nil, fuse.EINVAL
		}
		return fuse.ReadResultData(buf[:h.read(buf, in.Offset)]), fuse.OK
	case *eventHandle:
		if in.ReadFlags&fuse.READ_LOCKOWNER == 0 {
			return nil, fuse.EINVAL
		}
		f.requests.blocks(t, true)
		n, err := h.read(buf, in.Offset, in.Flags&syscall.O_NONBLOCK == 0, interrupt)
		if err != nil {
			return nil, f.errno("events", err)
		}
		return fuse.ReadResultData(buf[:n]), fuse.OK
	}
	return nil, fuse.EIO // of a process that has died
}

// list lists a directory. What is in by-id can be a million.
func (c *control) list(n *controlNode) *listing {
	l := &listing{level: names.Nested, dots: [2]dirEntry{{".", n.id, true}, {"..", n.parent, true}}}
	for _, e := range c.fixed {
		if e.parent == n.id {
			l.own = append(l.own, dirEntry{e.name, e.id, e.is(syscall.S_IFDIR)})
		}
	}
	l.left = l.own
	return l
}
