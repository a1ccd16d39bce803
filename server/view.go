package server

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/commy-project/commyfs/memfile"
)

// view is what the server knows: all tenants and services, and the content of those services that somebody looked at.
// It only ever shows what the engine has stored.
//
// The committer alone changes it, under mu, and therefore reads it without; everybody else reads under mu.RLock. What
// is loaded later (byID and service.content) is the exception: loaders set it, under mu or atomically.
type view struct {
	mu       sync.RWMutex
	tenants  map[string]*tenant
	services map[uint64]*service
	// byID has the variables of all loaded services.
	byID map[uint64]*variable
	rev  int64
}

type tenant struct {
	id       uint64
	name     string
	mtime    int64
	services map[string]*service
}

// service is the same object from the moment it is made until it is removed, whatever it is called.
type service struct {
	id    uint64
	mtime int64
	// name and tenant are guarded by view.mu.
	name   string
	tenant *tenant

	loading sync.Mutex
	content atomic.Pointer[content]

	// watchMu guards watches. Lock order: view.mu, watchMu, outbox.mu.
	watchMu sync.Mutex
	watches map[*watch]struct{}
}

// content is what a loaded service holds. It is never let go while the server runs.
type content struct {
	root  *dir
	floor uint64
	log   eventLog // guarded by view.mu

	// The committer's own: the memory file, nil when it cannot be had, and the first slot that was never in use.
	mem  *memfile.Writer
	high uint32
	// file is where mem can be opened, nil when it cannot.
	file atomic.Pointer[fileInfo]
}

type fileInfo struct {
	path       string
	generation uint64
}

// dir is a directory of the tree; its children are changed in place, what describes it is not.
type dir struct {
	info     *dirInfo
	children map[string]node
}

type dirInfo struct {
	id    uint64
	name  string // path in the service
	mtime int64
}

// variable is one state of a variable. It is not changed once published: each change makes a new one, so that a pointer
// taken under the lock can be used without it.
type variable struct {
	id      uint64
	version uint64
	mtime   int64
	service *service
	name    string
	writer  string
	data    []byte
	slot    uint32
	kind    uint8
}

// node is what a path names: a variable, a directory, or nothing.
type node struct {
	v *variable
	d *dir
}

func newView() *view {
	return &view{tenants: map[string]*tenant{}, services: map[uint64]*service{}, byID: map[uint64]*variable{}}
}

func newService(id uint64, name string, t *tenant, mtime int64) *service {
	return &service{id: id, name: name, tenant: t, mtime: mtime, watches: map[*watch]struct{}{}}
}

func newContent() *content {
	return &content{root: &dir{info: &dirInfo{}, children: map[string]node{}}}
}

// find walks to path; "" is the root directory.
func (c *content) find(path string) node {
	if path == "" {
		return node{d: c.root}
	}
	parent := c.dir(parentOf(path))
	if parent == nil {
		return node{}
	}
	return parent.children[baseOf(path)]
}

// dir walks to the directory at path, nil if there is none.
func (c *content) dir(path string) *dir {
	d := c.root
	for path != "" {
		var part string
		var more bool
		part, path, more = strings.Cut(path, "/")
		d = d.children[part].d
		if d == nil {
			return nil
		}
		if more && path == "" { // the path ends in an empty component
			return d.children[""].d
		}
	}
	return d
}

// walk calls fn for everything below d, parents first, until it returns false.
func (d *dir) walk(fn func(node) bool) bool {
	for _, n := range d.children {
		if !fn(n) {
			return false
		}
		if n.d != nil && !n.d.walk(fn) {
			return false
		}
	}
	return true
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
	return v.byID[id]
}
