package kernel

// Sized records the size of a file that a reply tells. The kernel takes one that answers SETATTR as it is, any other only if
// nothing else was told since it asked.
func (c *Cache) Sized(id, size uint64, taken bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodeLocked(id)
	if n == nil {
		return
	}
	n.size = size
	if size == 0 {
		n.empty = true
	} else if taken {
		n.empty = false
	}
}

// LastSize returns the size that was told last.
func (c *Cache) LastSize(id uint64) uint64 { return c.node(id).size }

// TakesForEmpty reports whether the kernel may take a file for empty.
func (c *Cache) TakesForEmpty(id uint64) bool { return c.node(id).empty }

// HasPages reports whether the kernel can have pages of a node.
func (c *Cache) HasPages(id uint64) bool { return c.node(id).pages }

// Paged records that the kernel is given pages of a node.
func (c *Cache) Paged(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodeLocked(id); n != nil {
		n.pages = true
	}
}

func (c *Cache) node(id uint64) node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodeLocked(id); n != nil {
		return *n
	}
	return node{}
}
