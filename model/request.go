package model

// Client describes a program that connects.
type Client struct {
	// ID names the client across reconnects: 16 random bytes, the key of exactly-once delivery.
	ID       []byte
	Program  string // what it is, for status: "mount", "get", ...
	Version  string
	Pid      int
	Host     string
	Mount    string // mountpoint, empty for other programs
	ReadOnly bool
}

// Welcome is what a server says of itself to a client that connects.
type Welcome struct {
	// Store identifies the engine's store; a client that resumes from another store starts anew.
	Store  string
	Server ServerInfo
	Limits Limits
	// Local is true where client and server share a host: memory files can be opened by path.
	Local bool
	// Each is true where reports can have Each set.
	Each bool
	// Lease is how long, in nanoseconds, a client keeps its locks that is not heard of; 0: the server has no locks.
	Lease int64
	// Principal stands for whom the server takes the client for; empty: it does not say it. Another one is told nothing of what became
	// of this one's reports.
	Principal string
}

// TreePage is a page of all tenants and services that a session may see. The last has More false.
type TreePage struct {
	Tenants  []Tenant
	Services []Service
	Rev      int64 // engine revision the pages are of
	More     bool
}

// TreeChanges are tenants or services that came, went or were renamed, in order.
type TreeChanges struct {
	Rev     int64
	Changes []TreeChange
}

// Watch asks for a service's directories and variables and for every change after them.
type Watch struct {
	Service uint64
	// Store and Since are the resume token: where an earlier watch had come to. Zero: from the beginning.
	Store string
	Since int64
	// Values asks for the bytes; without it only what describes them is sent (a client that maps the memory file).
	Values bool
}

// Snapshot is a page of a service's state at one revision. When Resumed is set, Changes are what came after Watch.Since
// and the client keeps what it has; otherwise the pages together are all there is. The last has More false.
type Snapshot struct {
	Service uint64
	Root    Dir // the service itself, as a directory
	Resumed bool
	Dirs    []Dir
	Vars    []Variable
	Changes []Event
	Rev     int64
	More    bool
}

// Changes are events of one service in order. They are applied as one step: a reader sees all or none.
type Changes struct {
	Service uint64
	Rev     int64
	Changes []Event
}

// Watcher is told of what a client watches, in order. It must not wait for anything.
type Watcher interface {
	TreeChanged(*TreeChanges)
	Changed(*Changes)
	// Replaced takes a page of a service's state that was not asked for: many changes in one step, or all there is because
	// the watcher could not keep up.
	Replaced(*Snapshot)
	// MemoryFileMoved says that a service has another memory file; none if the path is empty.
	MemoryFileMoved(service uint64, f *MemoryFile)
	// MemoryStored says that bytes of a bare service on this host have changed that no variable has.
	MemoryStored(service uint64)
	// Locked says what has become of a request for a lock that has waited, LeaseEnded that all locks by a lease are gone.
	Locked(*LockAnswer)
	LeaseEnded(lease uint64)
}

// Report asks for changes, all or none of them, in order, exactly once for each (principal, client, Seq).
//
// With Each it stands for as many reports as it has changes: of one change each, and with the numbers Seq, Seq+1 and so on.
// They can be sent again in any company.
type Report struct {
	Seq uint64 // > 0, rising within a client
	// Acked: the client has the answers to all reports with lower numbers and will not ask again.
	Acked   uint64
	Changes []Change
	// Age is how long ago, in nanoseconds, the report was sent for the first time; 0: this is the first time. It tells a
	// server that does not know the client whether it may have forgotten it: then the answer is CodeForgotten.
	Age  int64
	Each bool
}

// Outcome is what became of a [Report]: its changes are stored, or, with Code set, none is. Of a report with Each those that
// are not in Refused are stored.
type Outcome struct {
	Seq     uint64
	Code    Code
	Message string
	Index   int // which change was refused
	Rev     int64
	Results []Result // one for each change
	Refused []Refusal
}

// Refusal says why a change of a report with Each was refused.
type Refusal struct {
	Index   int
	Code    Code
	Message string
}

// MemoryFile is where a service's memory file is.
type MemoryFile struct {
	Path       string
	Generation uint64
	// Of the file of a bare service:
	Size  int64
	Bell  string // the file to ring after a store; see package bare
	Write bool   // the client may store into it
}

// Probe asks whether a change of the target would be accepted now: the server is reachable, the right holds, there is
// space, and there can be a variable of that name.
type Probe struct {
	ID      uint64
	In      uint64 // as in Change
	Tenant  string
	Service string
	Name    string
	Want    Rights
	Reserve bool // set an id aside for a variable to be created
}

// Probed answers a [Probe].
type Probed struct {
	ID      uint64 // the reserved id
	Version uint64 // of the variable that the probe names by its id
}

// Read asks for one variable by name, without a watch.
type Read struct {
	Tenant  string
	Service string
	Name    string
	Stat    bool // without the value
}

// List asks for what is in a directory: tenants (nothing set), services (Tenant), or the content of a service or of
// directory Name in it. Recursive goes all the way down.
type List struct {
	Tenant    string
	Service   string
	Name      string
	Recursive bool
}

// Page is a page of the answer to a [List], in order of the paths. The last has More false.
type Page struct {
	Entries []Entry
	More    bool
}

// Status describes a server and its sessions.
type Status struct {
	Server   ServerInfo
	Store    string
	Rev      int64
	Limits   Limits
	Services int
	Loaded   int // services held in memory
	Sessions []SessionInfo
	More     int // sessions that are not in the list, because it would be too long
	Damaged  int // records of the store that cannot be read; the log of the server says which
	Bare     []BareInfo
	MoreBare int // bare services in memory that are not in the list
	// Memory has the named services that somebody uses, and MoreMemory is how many are not in the list.
	Memory     []MemoryInfo
	MoreMemory int
	// Lease is as in [Welcome]; Locks and LockWaits are how many locks clients have and wait for.
	Lease     int64
	Locks     int
	LockWaits int
}

// NewKey asks for an API key.
type NewKey struct {
	Name    string
	Tenants []string // patterns, path.Match; none: every tenant
	Rights  Rights
}
