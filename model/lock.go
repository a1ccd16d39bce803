package model

// LockKind is one of the two kinds of locks, which do not see each other.
type LockKind uint8

// The kinds.
const (
	LockFile  LockKind = iota // flock(2): of the whole variable, by an open file description
	LockRange                 // fcntl(2): of a range of bytes, by a process or, Described, by a description
)

// MaxLockOffset is the last byte of a variable of any size: a range that ends there has no end.
const MaxLockOffset = 1<<63 - 1

// Lock is a lock of a variable that a client has or wants. Owner is the client's own name for who has it. An owner has at most
// one lock of a kind at any byte: what it asks for takes the place of that.
type Lock struct {
	ID        uint64 // of the variable
	In        uint64 // as in [Change]
	Kind      LockKind
	Owner     uint64
	Exclusive bool
	Described bool
	// Start and End are the first and the last byte of a LockRange.
	Start, End uint64
	Pid        int    // of the process that asked
	Program    string // that it runs
}

// LockRequest asks for a lock. Where somebody else has it, the answer is LockRefused, or, with Wait, LockWaits, and later, unasked,
// what has become of it.
type LockRequest struct {
	Lock
	Token uint64 // the client's number of the request, > 0
	Wait  bool
	Age   int64 // in a [Reclaim]: how long it has waited, in nanoseconds
}

// LockState is what has become of a request for a lock.
type LockState uint8

// The states.
const (
	LockGranted LockState = iota
	LockWaits
	LockRefused // somebody else has it, or it was asked for no more
	LockFailed  // with a code
)

// LockAnswer tells what has become of a request for a lock. What was changed under the lock before is told before it.
type LockAnswer struct {
	Token   uint64
	State   LockState
	Code    Code
	Message string
	Lease   uint64 // that the client has its locks by
}

// LockTest tells who has a lock, the first that is in the way of one.
type LockTest struct {
	Held bool
	By   Lock
	Near bool // it is of the same host as the asker, as far as the server knows: Pid means something there
}

// Reclaim tells the server, after a reconnect, all locks that a client has, and all that it waits for. It has no others from then
// on. With Lost the client gives up the lease, and what it has by it.
type Reclaim struct {
	Lease uint64
	Lost  bool
	Held  []HeldLock
	Waits []LockRequest
}

// HeldLock is a lock that a client has.
type HeldLock struct {
	Lock
	// Leaving: it is being unlocked, and perhaps is by now.
	Leaving bool
}

// Reclaimed answers a [Reclaim].
type Reclaimed struct {
	Lease uint64 // 0: the one that was named is over, and with it all locks
	Lost  []int  // which of Held others have by now
	Waits []LockAnswer
}

// ListLocks asks for the locks of all that is at or below a path.
type ListLocks struct {
	Tenant  string
	Service string
	Name    string
}

// LockPage is a page of the answer to a [ListLocks], in order of the paths. The last has More false.
type LockPage struct {
	Locks []LockInfo
	More  bool
}

// LockInfo describes a lock that somebody has or waits for.
type LockInfo struct {
	ID        uint64   `json:"id"` // of the variable
	Tenant    string   `json:"tenant,omitempty"`
	Service   string   `json:"service,omitempty"`
	Name      string   `json:"name,omitempty"` // empty: the variable is gone
	Kind      LockKind `json:"-"`
	Exclusive bool     `json:"exclusive"`
	Start     uint64   `json:"start"`
	End       uint64   `json:"end"`
	Waits     bool     `json:"waits"`
	Since     int64    `json:"since"` // Unix nanoseconds
	Host      string   `json:"host"`
	Pid       int      `json:"pid"`
	Program   string   `json:"program"`
	User      string   `json:"user"`
	Mount     string   `json:"mount,omitempty"`
	Away      int64    `json:"away,omitempty"` // since when its client has not been connected, Unix nanoseconds
}
