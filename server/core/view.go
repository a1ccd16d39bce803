package core

import (
	"strings"
	"sync"
	"sync/atomic"
	"unique"
	"unsafe"

	"github.com/commy-project/commyfs/bare"
	"github.com/commy-project/commyfs/memfile"
	"github.com/commy-project/commyfs/model"
)

// view is what the server knows: all tenants and services, and the content of those services that somebody looked at.
// It only ever shows what the engine has stored.
//
// The committer alone changes it, by [view.apply] and under mu, and therefore reads it without; everybody else reads under
// mu.RLock. Which services are loaded is the exception: loaders set that (service.content, byID, loaded) under mu or
// atomically, and fill the content in the same way while it is nobody else's.
type view struct {
	mu       sync.RWMutex
	tenants  map[string]*tenant
	prefixed map[string]*tenant // the same by their prefixes
	services map[uint64]*service
	// byID has the variables of all loaded services.
	byID index
	// moved has the services of the variables that are not in the one they were made in, loaded or not, by their ids.
	moved map[uint64]uint64
	// islands has the directories that are, or were, in another service than the one they were made in, loaded or not, and went
	// where they are, by where they were.
	islands map[islandKey]*island
	went    went
	// damaged has the names of tenants (the service is empty) and services whose records cannot be read: by tenant, then by
	// service. It does not change.
	damaged map[string]map[string]bool
	// loaded has the services that are in memory, in no order.
	loaded []*service
	rev    int64
}

// meta describes a variable or directory beside what it holds.
type meta struct {
	mtime int64
	mode  model.Mode
}

// tenant is the same object from the moment it is made until it is removed, whatever it is called.
type tenant struct {
	id     uint64
	name   string
	prefix string // under which the store has its services; it keeps it
	meta
	services map[string]*service
}

// service is the same object from the moment it is made until it is removed, whatever it is called.
type service struct {
	id uint64
	// name, tenant, bare and meta are guarded by view.mu.
	name   string
	tenant *tenant
	bare   int64 // bytes of a bare service; 0: it is a named one
	meta

	// content is nil while the service is not in memory. It becomes so only between two batches, and under view.mu.
	loading sync.Mutex
	content atomic.Pointer[content]
	failed  atomic.Pointer[loadFailure] // nil unless it could not be loaded the last time
	at      int                         // in view.loaded; guarded by view.mu
	used    atomic.Int64                // when somebody last used it; here and below Unix nanoseconds
	unasked atomic.Int64                // when the last of askers left
	since   atomic.Int64                // nothing has happened in it after this revision while it was not in memory
	reads   atomic.Int32                // how often it was read while it was not in memory
	steps   atomic.Uint64               // see Session.Steps

	// watchMu guards the following. Lock order: view.mu, watchMu, feed.mu.
	watchMu sync.Mutex
	watches set[*watch]
	askers  set[*Session] // who have asked for the memory file, and may have it mapped
}

// set takes no memory while there was never anything in it: most services have nobody who watches them.
type set[T comparable] map[T]struct{}

func (s *set[T]) add(v T) {
	if *s == nil {
		*s = set[T]{}
	}
	(*s)[v] = struct{}{}
}

func (s set[T]) has(v T) bool {
	_, ok := s[v]
	return ok
}

// content is what a loaded service holds.
type content struct {
	root  *directory // the service itself
	nodes ordered
	// prefixes has the directories whose prefixes are not their own, by these. The committer's own, once it is loaded.
	prefixes map[string]*directory
	floor    uint64
	log      eventLog // guarded by view.mu
	// damaged has the variables whose values cannot be read: their ids. It does not change.
	damaged map[entryKey]uint64

	// layouts are those of the registered variables of a bare service, guarded by view.mu.
	layouts layouts

	// bare is the file of a bare service, nil while it cannot be had. The committer sets it, or who loads the service.
	bare atomic.Pointer[bare.File]
	// opening is set while somebody opens it again, see checkBare. bareTried is when the committer last had it tried, in Unix
	// nanoseconds, and bareTries how often; its own.
	opening   atomic.Bool
	bareTried int64
	bareTries int

	// The committer's own: the memory file, nil when there is none; the one that is being made, if any; the revision of
	// the last change of names; and the first slot that was never in use.
	mem      *memfile.Writer
	building *build
	named    int64
	high     uint32
	// free are slots that are free while there is no file, and none is built. landing: what has come lately is not in mem; sparse: mem
	// is too large. Both until another file takes its place.
	free            []uint32
	landing, sparse bool
	// file is where mem can be opened, nil when it cannot.
	file atomic.Pointer[model.MemoryFile]
}

// variable is one state of a variable. It is not changed once published: each change makes a new one, so that a pointer
// taken under the lock can be used without it.
//
// There can be millions: its fields are as small as they can be, and in an order that leaves no gaps.
type variable struct {
	id      uint64
	version uint64
	mtime   int64
	dir     *directory
	name    string // in the directory
	writer  unique.Handle[string]
	value   value
	slot    uint32
	mode    model.Mode
	kind    uint8
	pieced  bool // the store has the value in pieces
}

// at is where the variable is.
func (v *variable) at() entryKey { return entryKey{v.dir, v.name} }

// data is the value. Nobody changes it.
func (v *variable) data() []byte { return v.value.bytes() }

// writtenBy is who has written the value, "" if nobody knows.
func (v *variable) writtenBy() string {
	if v.writer == (unique.Handle[string]{}) {
		return ""
	}
	return v.writer.Value()
}

func (v *variable) meta() meta { return meta{v.mtime, v.mode} }

func (v *variable) setMeta(m meta) { v.mtime, v.mode = m.mtime, m.mode }

// value is a slice in less memory.
type value struct {
	first      *byte
	size, room uint32 // engine.MaxValue and memfile.MaxValue are less
}

func newValue(data []byte) value {
	return value{unsafe.SliceData(data), uint32(len(data)), uint32(cap(data))}
}

func (v value) bytes() []byte { return unsafe.Slice(v.first, v.room)[:v.size] }

func newView() *view {
	return &view{tenants: map[string]*tenant{}, prefixed: map[string]*tenant{}, services: map[uint64]*service{}, byID: newIndex(), moved: map[uint64]uint64{},
		islands: map[islandKey]*island{}, went: went{}}
}

func newTenant(id uint64, name, prefix string, m meta) *tenant {
	return &tenant{id: id, name: name, prefix: prefix, meta: m, services: map[string]*service{}}
}

func newService(id uint64, name string, t *tenant, m meta) *service {
	return &service{id: id, name: name, tenant: t, meta: m}
}

func newContent(s *service) *content { return &content{root: &directory{service: s, home: s.id}} }

// get is what a directory has under a name.
func (c *content) get(k entryKey) entry { return c.nodes.get(nodeKey{k.in.id, k.name}) }

// find is what is at path. in is the directory that it is in, or would be in; nil: there is no such directory. blocked: because
// a variable has the name of one.
func (c *content) find(path string) (n entry, in *directory, blocked bool) {
	in = c.root
	for {
		name, rest, deeper := strings.Cut(path, "/")
		n = c.get(entryKey{in, name})
		switch {
		case !deeper:
			return n, in, false
		case n.d == nil:
			return entry{}, nil, n.v != nil
		}
		in, path = n.d.dir, rest
	}
}

// put has a directory have n under a name, which may be nothing.
func (c *content) put(k entryKey, n entry) {
	key := nodeKey{k.in.id, k.name}
	if n.none() {
		if was := c.nodes.delete(key); !was.none() {
			k.in.count--
		}
	} else if was := c.nodes.set(key, n); was.none() {
		k.in.count++
	}
}

// lookup finds a service by its names.
func (v *view) lookup(tenant, name string) *service {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if t := v.tenants[tenant]; t != nil {
		return t.services[name]
	}
	return nil
}

// variable finds a variable of a loaded service.
func (v *view) variable(id uint64) *variable {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.byID.get(id)
}
