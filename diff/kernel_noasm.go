//go:build noasm || race || (!amd64 && !arm64)

package diff

// Without assembly there is nothing to support, and the kernels that need it are
// never chosen: see [Use].

func supported(kernel) bool { return false }

//go:noinline
func (k kernel) first(a, b []byte, pos int) int { return k.firstOther(a, b, pos) }

func scanVector(_ kernel, a, b []byte, pos int, out *[entries]entry, store bool) (next, n int) {
	return scanPortable(a, b, pos, out, store)
}
