package memfile

// arm64 reorders freely. Go's atomics are LDAR and STLR, which is one direction each: an LDAR keeps what follows behind it,
// an STLR keeps what precedes before it. The sequence lock needs the other two as well: the second look at the sequence word
// must not be performed before the loads of the value, and the stores of the value must not become visible before the odd
// sequence word. Copying word by word with LDAR and STLR would give that too, several times slower than copy and a barrier.

// loadFence is DMB ISHLD: loads before it are performed before loads and stores after it.
func loadFence()

// storeFence is DMB ISHST: stores before it are visible before stores after it.
func storeFence()
