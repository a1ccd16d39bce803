package fs

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/commy-project/commyfs/fs/poke"
	"github.com/commy-project/commyfs/internal/names"
	varsync "github.com/commy-project/commyfs/sync"
)

// notifier makes changes visible to the kernel and raises their events, on a goroutine of its own: both wait for locks
// that request handlers hold. Its queue is a list in which a variable's changes of value are merged while they wait
// (S17); appearing, disappearing and moving are never merged away.
type notifier struct {
	f    *FS
	wg   sync.WaitGroup
	wake chan struct{} // holds a token when there may be work
	done chan struct{}

	mu       sync.Mutex // guards the following
	queue    []*item
	modified map[uint64]*item         // the waiting change of a variable's value
	changes  map[localKey]*nameChange // names that are to be announced
	// lostNames has the nodes that have lost a name, and fading those of them that are announced, in order.
	lostNames map[uint64]*lostName
	fading    []fading

	// current is what the poke thread is doing: handlers answer its requests from it. See poked.go.
	current atomic.Pointer[poking]
	// linked counts the renames over a node under its id, and has the last of a thread under its threadID; keeps counts
	// them all. See keepWatches.
	linked sync.Map
	keeps  atomic.Int32
}

// item is one thing to do: a notice, or a name to look up again.
type item struct {
	varsync.Notice
	ownValue bool // every change of the value in it is ours; Own is what Kind says
	refresh  bool // only invalidate Parent's entry name
	name     string
}

func (n *notifier) init(f *FS) {
	n.f = f
	n.wake, n.done = make(chan struct{}, 1), make(chan struct{})
	n.modified, n.changes, n.lostNames = map[uint64]*item{}, map[localKey]*nameChange{}, map[uint64]*lostName{}
}

func (n *notifier) start() { n.wg.Go(n.run) }

func (n *notifier) stop() {
	close(n.done)
	n.wg.Wait()
}

// add takes what the client has applied. It never blocks. What nobody can be watching is dropped here, or a million
// variables made elsewhere would wait in the queue: who looks later finds them changed already.
func (n *notifier) add(notices []varsync.Notice) {
	var unseen []varsync.Notice
	seen := slices.DeleteFunc(slices.Clone(notices), func(in varsync.Notice) bool {
		drop := !n.watchable(in.ID, orRoot(in.Parent)) && (in.Kind != varsync.Renamed || !n.watchable(orRoot(in.OldParent)))
		if drop {
			unseen = append(unseen, in)
		}
		return drop
	})
	for _, in := range unseen {
		n.settled(&item{Notice: in})
	}
	if len(seen) == 0 {
		return
	}
	n.mu.Lock()
	for i := range seen {
		in := &seen[i]
		waiting := n.modified[in.ID]
		if in.Kind == varsync.Modified && waiting != nil {
			waiting.MTime = in.MTime
			waiting.ownValue = waiting.ownValue && in.Own
			continue
		}
		it := &item{Notice: *in, ownValue: in.Own}
		n.queue = append(n.queue, it)
		switch {
		case in.Kind == varsync.MetaChanged:
		case in.Kind == varsync.Modified, in.Kind == varsync.Created && !in.Dir:
			n.modified[in.ID] = it // a creation raises the events of its first value too
		default:
			delete(n.modified, in.ID)
		}
	}
	n.mu.Unlock()
	n.poke()
}

// refreshName makes the kernel look a name up again, soon. It never blocks.
func (n *notifier) refreshName(parent uint64, name string) {
	n.mu.Lock()
	it := &item{Notice: varsync.Notice{Parent: parent}, refresh: true, name: name}
	n.queue = append(n.queue, it)
	n.changingLocked(it)
	n.mu.Unlock()
	n.poke()
}

func (n *notifier) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *notifier) run() {
	for {
		it := n.next()
		if it == nil {
			select {
			case <-n.wake:
			case <-n.done:
				return
			}
			continue
		}
		n.handle(it)
		n.settled(it)
		select {
		case <-n.done:
			return
		default:
		}
	}
}

func (n *notifier) next() *item {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.queue) == 0 {
		n.queue = nil
		return nil
	}
	it := n.queue[0]
	n.queue[0] = nil
	n.queue = n.queue[1:]
	if n.modified[it.ID] == it {
		delete(n.modified, it.ID)
	}
	return it
}

func (n *notifier) handle(it *item) {
	it.Parent = orRoot(it.Parent)
	switch it.Kind {
	case varsync.Created, varsync.Deleted, varsync.Renamed:
		n.forgetNode(it.Parent) // its time
		if it.Kind == varsync.Renamed {
			n.forgetNode(orRoot(it.OldParent))
		}
	}
	switch {
	case it.refresh:
		n.forgetName(it.Parent, it.name)
	case it.Kind == varsync.Modified:
		n.changed(it)
	case it.Kind == varsync.Created:
		n.appeared(it)
	case it.Kind == varsync.Deleted:
		n.disappeared(it)
	case it.Kind == varsync.Renamed:
		n.moved(it)
	case it.Kind == varsync.MetaChanged:
		n.described(it)
	}
}

// orRoot is the number of a directory that a notice names: the root has none at the server.
func orRoot(id uint64) uint64 {
	if id == 0 {
		return rootID
	}
	return id
}

func (n *notifier) forgetName(parent uint64, name string) {
	if !n.f.kernel.knows(parent) {
		return
	}
	if err := n.f.kernel.invalidateEntry(parent, name); err != nil {
		n.f.log.Debug("invalidate entry", "parent", parent, "err", err)
	}
}

func (n *notifier) forgetNode(id uint64) {
	if !n.f.kernel.knows(id) {
		return
	}
	if err := n.f.kernel.invalidateNode(id); err != nil {
		n.f.log.Debug("invalidate node", "id", id, "err", err)
	}
}

// watchable reports whether anybody can be watching: the kernel holds every node that is watched.
func (n *notifier) watchable(ids ...uint64) bool {
	for _, id := range ids {
		if n.f.kernel.knows(id) {
			return true
		}
	}
	return false
}

func (n *notifier) wants(e EventSet) bool { return n.f.o.Events&e == 0 }

// changed announces a new value: MODIFY, then CLOSE_WRITE. The writing mount's kernel has raised MODIFY itself, but
// early, when the old value was still the committed one, and raises CLOSE_WRITE at the right time: only MODIFY is raised
// again.
func (n *notifier) changed(it *item) {
	// What this mount's writers have written the kernel knows. Invalidating it has the kernel drop the reply to a question
	// for attributes that is under way: lseek to the end would go by an older size.
	if !it.ownValue || !n.wants(withoutModify) || !n.f.handles.uncommitted(it.ID) || n.f.kernel.hasPages(it.ID) {
		n.forgetNode(it.ID)
	}
	if !n.watchable(it.ID, it.Parent) {
		return
	}
	n.valueEvents(it)
}

func (n *notifier) valueEvents(it *item) {
	path := filePath(it.Path)
	if n.wants(withoutModify) {
		if err := n.modify(it, path); errors.Is(err, syscall.ENOENT) {
			// It has been renamed through this mount since: the event belongs to the new name.
			v, ok := n.f.c.Node(it.ID).(*varsync.Variable)
			if !ok {
				return
			}
			path = filePath(pathOf(v))
			err = n.modify(it, path)
			n.report("modify", path, err)
		} else {
			n.report("modify", path, err)
		}
	}
	if !it.ownValue && n.wants(withoutCloseWrite) {
		n.report("close_write", path, n.do(poke.Op{Kind: poke.CloseWrite, Path: path}, nil))
	}
}

func (n *notifier) modify(it *item, path string) error {
	return n.do(poke.Op{Kind: poke.Modify, Path: path, MTime: time.Unix(0, it.MTime)}, nil)
}

func pathOf(v *varsync.Variable) []string {
	s := v.Service()
	return append([]string{s.Tenant().Name(), s.Name()}, components(v.Name())...)
}

// forgetNames has the kernel ask for the names in a directory, which it has kept while everybody could search that.
func (n *notifier) forgetNames(dir uint64) {
	entries, err := n.f.list(dir)
	if err != nil {
		n.f.log.Debug("names in a directory", "dir", dir, "err", err)
		return
	}
	for _, e := range entries[2:] {
		if n.f.kernel.knows(e.id) {
			n.forgetName(dir, e.name)
		}
	}
}

// described announces another mode or mtime: ATTRIB, unless the kernel has raised that itself.
func (n *notifier) described(it *item) {
	n.forgetNode(it.ID)
	if it.Dir && !n.f.searchable(it.ID) {
		n.forgetNames(it.ID)
	}
	if it.Own || !n.watchable(it.ID, it.Parent) || !n.wants(withoutAttrib) {
		return
	}
	op := poke.Op{Kind: poke.Attrib, Path: filePath(it.Path), MTime: time.Unix(0, it.MTime)}
	n.report("attrib", op.Path, n.do(op, nil))
}

// appeared announces a variable or directory. Its name can be in the kernel already, looked up before we came here: it
// is dropped and the poke tried again, or there would be no event.
func (n *notifier) appeared(it *item) {
	n.forgetNode(it.ID)
	if !n.watchable(it.Parent) {
		return
	}
	if !it.Own && n.wants(withoutCreate) {
		op := poke.Op{Kind: poke.Create, Path: filePath(it.Path), Mode: 0o666}
		if it.Dir {
			op.Kind, op.Mode = poke.Mkdir, 0o777
		}
		p := &poking{kind: op.Kind, parent: it.Parent, name: lastName(it.Path), id: it.ID, dir: it.Dir}
		var err error
		for range 5 {
			if err = n.do(op, p); !errors.Is(err, syscall.EEXIST) {
				break
			}
			n.forgetName(it.Parent, p.name)
		}
		if err != nil {
			n.forgetName(it.Parent, p.name)
		}
		n.report("create", op.Path, err)
	}
	if !it.Dir {
		n.valueEvents(it)
	}
}

// disappeared announces a removal. The kernel drops the name itself.
func (n *notifier) disappeared(it *item) {
	if it.Own || !n.watchable(it.Parent) {
		return
	}
	name := lastName(it.Path)
	now, _ := n.f.find(it.Parent, name)
	if now != nil && now.ID() != it.ID || !n.wants(withoutDelete) {
		n.forgetName(it.Parent, name) // the name stands for something new: removing it would end that one's watches
		return
	}
	n.forgetName(it.Parent, name) // the poke is to find the node that goes, whatever the kernel has there
	op := poke.Op{Kind: poke.Unlink, Path: filePath(it.Path)}
	if it.Dir {
		op.Kind = poke.Rmdir
	}
	err := n.do(op, &poking{kind: op.Kind, parent: it.Parent, name: name, id: it.ID, dir: it.Dir})
	if err != nil {
		n.forgetName(it.Parent, name)
	}
	n.report("delete", op.Path, err)
}

// moved announces a new name.
func (n *notifier) moved(it *item) {
	oldParent := orRoot(it.OldParent)
	if it.Own || !n.watchable(it.Parent, oldParent) {
		return
	}
	oldName, newName := lastName(it.OldPath), lastName(it.Path)
	n.forgetName(it.Parent, newName)
	n.forgetName(oldParent, oldName)
	if !n.wants(withoutMove) {
		return
	}
	op := poke.Op{Kind: poke.Rename, Path: filePath(it.OldPath), NewPath: filePath(it.Path)}
	err := n.do(op, &poking{kind: op.Kind, parent: oldParent, name: oldName, newParent: it.Parent, newName: newName,
		id: it.ID, dir: it.Dir})
	if err != nil {
		n.forgetName(oldParent, oldName)
		n.forgetName(it.Parent, newName)
	}
	n.report("move", op.Path, err)
}

// do has the poke thread make a system call, with p as what its requests are answered from.
func (n *notifier) do(op poke.Op, p *poking) error {
	n.current.Store(p)
	defer n.current.Store(nil)
	return n.f.poker.Load().Do(op)
}

func (n *notifier) report(event, path string, err error) {
	if err != nil && !errors.Is(err, poke.ErrClosed) && !errors.Is(err, poke.ErrNotMounted) {
		n.f.log.Debug("event not raised", "event", event, "path", path, "err", err)
	}
}

// lastName is the file name of a path's last component.
func lastName(path []string) string {
	i := len(path) - 1
	return names.Encode(path[i], levelOf(i))
}
