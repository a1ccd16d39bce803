package memfile

// On amd64 stores become visible in program order and loads are performed in it, string instructions included as far as
// other instructions see them; the runtime's copy ends its non-temporal stores with SFENCE. What is left to prevent is the
// compiler's reordering, and it does not move memory operations across an atomic one.

func loadFence()  {}
func storeFence() {}
