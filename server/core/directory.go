package core

import "strings"

// directory is the same object from the moment it is made, or loaded, until it is removed, whatever it is called and wherever it
// is: what is in it names it, and so nothing of that changes when it gets another name.
type directory struct {
	id      uint64 // 0: the service itself, which has no name in it
	service *service
	// home is the service under whose id the store has what is in the directory: that in which it was made. prefix is what the
	// names there begin with. Neither ever changes, see [engine.Dir].
	home   uint64
	prefix string
	// now is what it is called and where it is, nil of a service itself. It is guarded by view.mu.
	now *dirInfo

	// count is of what is in it. No path of what is anywhere below it is longer than longest, counted from it, and no version
	// higher than highest. These are the committer's own, once the service is loaded.
	count   int
	had     bool // something has been in it
	longest int
	highest uint64
}

// dirInfo is one state of a directory. It is not changed once published.
type dirInfo struct {
	id   uint64
	dir  *directory // nil: a service itself, in an event
	in   *directory
	name string // in the directory that it is in
	// least is the least version of all that is below: what has a lower one has this one, since a rename.
	least uint64
	meta
}

// entry is what a name in a directory stands for: a variable, a directory, or nothing.
type entry struct {
	v *variable
	d *dirInfo
}

func (n entry) none() bool { return n.v == nil && n.d == nil }

func (n entry) id() uint64 {
	if n.v != nil {
		return n.v.id
	}
	return n.d.id
}

// key is where the entry is in its service.
func (n entry) key() nodeKey {
	if n.v != nil {
		return nodeKey{n.v.dir.id, n.v.name}
	}
	return nodeKey{n.d.in.id, n.d.name}
}

// name is the last part of its path.
func (n entry) name() string {
	if n.v != nil {
		return n.v.name
	}
	return n.d.name
}

// stored is under which name the store has what is called so in the directory.
func (d *directory) stored(name string) string { return d.prefix + name }

// ownPrefix is the prefix of a directory that is made under a name, and that of most.
func (d *directory) ownPrefix(name string) string { return d.prefix + name + "/" }

// isOwnPrefix tells whether the store need not be told the prefix of a directory.
func (n *dirInfo) isOwnPrefix() bool {
	own, in := n.dir.prefix, n.in.prefix
	return n.dir.home == n.in.home && len(own) == len(in)+len(n.name)+1 && own[:len(in)] == in && own[len(in):len(own)-1] == n.name && own[len(own)-1] == '/'
}

// path is where a name in the directory is in the service. The caller is the committer, or holds view.mu.
func (d *directory) path(name string) string {
	return d.pathBy(name, func(d *directory) *dirInfo { return d.now })
}

// pathBy is path for somebody who knows better where directories are.
func (d *directory) pathBy(name string, now func(*directory) *dirInfo) string {
	at := now(d)
	if at == nil {
		return name
	}
	var parts [16]string
	list := append(parts[:0], name)
	for ; at != nil; at = now(at.in) {
		list = append(list, at.name)
	}
	var b strings.Builder
	size := len(list) - 1
	for _, part := range list {
		size += len(part)
	}
	b.Grow(size)
	for i := len(list) - 1; i > 0; i-- {
		b.WriteString(list[i])
		b.WriteByte('/')
	}
	b.WriteString(name)
	return b.String()
}

// version is that which a variable in the directory has that got the given one when it last changed. The caller is the committer, or
// holds view.mu.
func (d *directory) version(own uint64) uint64 {
	return d.versionBy(own, func(d *directory) *dirInfo { return d.now })
}

// versionBy is version for somebody who knows better where directories are.
func (d *directory) versionBy(own uint64, now func(*directory) *dirInfo) uint64 {
	for at := now(d); at != nil; at = now(at.in) {
		own = max(own, at.least)
	}
	return own
}

// contains notes what has come into a directory: the length of a path and a version, or bounds of them. It goes all the way up: a
// batch that was given up can have left a directory's bounds higher than those of what it is in.
func (d *directory) contains(length int, version uint64, now func(*directory) *dirInfo) {
	for {
		d.had, d.longest, d.highest = true, max(d.longest, length), max(d.highest, version)
		at := now(d)
		if at == nil {
			return
		}
		length += 1 + len(at.name)
		d = at.in
	}
}
