package transport

import "github.com/commy-project/commyfs/model"

//go:generate go run github.com/tinylib/msgp@v1.6.5 -file=message.go -tests=false -io=false
//go:generate go run github.com/tinylib/msgp@v1.6.5 -file=lockmessage.go -tests=false -io=false
//go:generate go run github.com/tinylib/msgp@v1.6.5 -file=wire.go -unexported -tests=false -io=false

//msgp:replace model.ServerInfo with:wireServerInfo
//msgp:replace model.Limits with:wireLimits
//msgp:replace model.Tenant with:wireTenant
//msgp:replace model.Service with:wireService
//msgp:replace model.TreeChange with:wireTreeChange
//msgp:replace model.Dir with:wireDir
//msgp:replace model.Variable with:wireVariable
//msgp:replace model.Event with:wireEvent
//msgp:replace model.RangeData with:wireRangeData
//msgp:replace model.Change with:wireChange
//msgp:replace model.Result with:wireResult
//msgp:replace model.Refusal with:wireRefusal
//msgp:replace model.Entry with:wireEntry
//msgp:replace model.Layout with:wireLayout
//msgp:replace model.SessionInfo with:wireSessionInfo
//msgp:replace model.KeyInfo with:wireKeyInfo
//msgp:replace model.BareInfo with:wireBareInfo
//msgp:replace model.MemoryInfo with:wireMemoryInfo
//msgp:replace model.Code with:uint8
//msgp:replace model.Rights with:uint32
//msgp:replace model.Mode with:uint16
//msgp:replace model.EventKind with:uint8
//msgp:replace model.Op with:uint8
//msgp:replace model.Type with:uint8

// Error answers a request that was refused. Off the wire it is a [model.Error].
type Error struct {
	Code    model.Code `msg:"c"`
	Message string     `msg:"m"`
}

// Done answers a request that has nothing to say but that it was carried out.
type Done struct{}

// Hello is the first request on a connection. Answer: [Welcome].
type Hello struct {
	// ID names the client across reconnects: 16 random bytes, the key of exactly-once delivery.
	ID       []byte `msg:"c,zerocopy"`
	Program  string `msg:"p"` // what it is, for status: "mount", "get", ...
	Version  string `msg:"v"`
	Pid      int    `msg:"pid"`
	Host     string `msg:"h"`
	Mount    string `msg:"m"` // mountpoint, empty for other programs
	ReadOnly bool   `msg:"ro"`
}

// Welcome answers [Hello].
type Welcome struct {
	// Store identifies the engine's store; a client that resumes from another store starts anew.
	Store  string           `msg:"st"`
	Server model.ServerInfo `msg:"srv"`
	Limits model.Limits     `msg:"lim"`
	// Local is true over a Unix socket: memory files can be opened by path.
	Local bool `msg:"l"`
	// Each is true where reports can have Each set.
	Each bool `msg:"ea"`
	// Lease is how long, in nanoseconds, a client keeps its locks that is not heard of; 0: the server has no locks.
	Lease int64 `msg:"le,omitempty"`
	// Principal stands for whom the server takes the client for: answers are kept for one, and not told to another. Empty: a server
	// that does not say it.
	Principal string `msg:"pr,omitempty"`
}

// WatchTree asks for all tenants and services that the session may see, then for every change of them as
// [TreeChanged]. Answer: one or more [Tree], the last with More false.
type WatchTree struct{}

// Tree is a page of the answer to [WatchTree].
type Tree struct {
	Tenants  []model.Tenant  `msg:"t"`
	Services []model.Service `msg:"s"`
	Rev      int64           `msg:"r"` // engine revision the pages are of
	More     bool            `msg:"m"`
}

// TreeChanged is a push: tenants or services came, went or were renamed, in order.
type TreeChanged struct {
	Rev     int64              `msg:"r"`
	Changes []model.TreeChange `msg:"c"`
}

// Watch asks for a service's directories and variables and for every change after them as [VariableChanged].
// Answer: one or more [Snapshot], the last with More false.
type Watch struct {
	Service uint64 `msg:"s"`
	// Store and Since are the resume token: where an earlier watch had come to. Zero: from the beginning.
	Store string `msg:"st"`
	Since int64  `msg:"r"`
	// Values asks for the bytes; without it only what describes them is sent (a client that maps the memory file).
	Values bool `msg:"v"`
}

// Snapshot is a page of the answer to [Watch]. When Resumed is set, Changes are what came after Since and the client
// keeps what it has; otherwise the pages together are all there is, and what the client has beyond them is gone.
type Snapshot struct {
	Service uint64           `msg:"s"`
	Root    model.Dir        `msg:"rt"` // the service itself, as a directory
	Resumed bool             `msg:"re"`
	Dirs    []model.Dir      `msg:"d"`
	Vars    []model.Variable `msg:"v"`
	Changes []model.Event    `msg:"c"`
	Rev     int64            `msg:"r"`
	More    bool             `msg:"m"`
}

// Unwatch ends a [Watch]. Answer: [Done].
type Unwatch struct {
	Service uint64 `msg:"s"`
}

// VariableChanged is a push: changes of one service in order. They are applied as one step: a reader sees all or none.
type VariableChanged struct {
	Service uint64        `msg:"s"`
	Rev     int64         `msg:"r"`
	Changes []model.Event `msg:"c"`
}

// ReportVariableChanges asks the server to carry out changes, all or none of them, in order, exactly once for each
// (client, Seq). Answer: [VariableChangesAcknowledged], also when they were refused.
type ReportVariableChanges struct {
	Seq uint64 `msg:"q"` // > 0, rising within a client
	// Acked: the client has the answers to all reports with lower numbers and will not ask again.
	Acked   uint64         `msg:"f"`
	Changes []model.Change `msg:"c"`
	// Age is how long ago, in nanoseconds, the report was sent for the first time; 0: this is the first time. It tells a
	// server that does not know the client whether it may have forgotten it: then the answer is CodeForgotten.
	Age int64 `msg:"a"`
	// Each says that every change is a report of its own: they have the numbers Seq, Seq+1 and so on, are carried out or
	// refused by themselves, and can be sent again in any company. Only if [Welcome] allows it.
	Each bool `msg:"ea"`
}

// VariableChangesAcknowledged answers [ReportVariableChanges]: the changes are stored, or, with Code set, none is.
type VariableChangesAcknowledged struct {
	Seq     uint64         `msg:"q"`
	Code    model.Code     `msg:"e"`
	Message string         `msg:"em"`
	Index   int            `msg:"i"` // which change was refused
	Rev     int64          `msg:"r"`
	Results []model.Result `msg:"rs"` // one for each change
	// Refused says which changes of a report with Each are not stored; their results are empty.
	Refused []model.Refusal `msg:"rf"`
}

// GetServiceFilePath asks where a service's memory file is. Answer: [ServiceFilePath], or CodeUnsupported over a network.
type GetServiceFilePath struct {
	Service uint64 `msg:"s"`
	Bare    bool   `msg:"b,omitempty"` // the bytes of a bare service themselves, not the view of its variables
}

// ServiceFilePath answers [GetServiceFilePath].
type ServiceFilePath struct {
	Path       string `msg:"p"`
	Generation uint64 `msg:"g"`
	Size       int64  `msg:"z,omitempty"` // here and below: of a bare service
	Bell       string `msg:"b,omitempty"`
	Write      bool   `msg:"w,omitempty"`
}

// Probe asks whether a change of the target would be accepted now: the server is reachable, the right holds, there is
// space, and there can be a variable of that name. Answer: [Probed].
type Probe struct {
	ID      uint64       `msg:"id"`
	In      uint64       `msg:"in"` // as in Change
	Tenant  string       `msg:"t"`
	Service string       `msg:"s"`
	Name    string       `msg:"n"`
	Want    model.Rights `msg:"w"`
	Reserve bool         `msg:"r"` // set an id aside for a variable to be created
}

// Probed answers [Probe].
type Probed struct {
	ID      uint64 `msg:"id"` // the reserved id
	Version uint64 `msg:"v"`  // of the variable that the probe names by its id
}

// ReadVariable asks for one variable by name, without a watch. Answer: [VariableData].
type ReadVariable struct {
	Tenant  string `msg:"t"`
	Service string `msg:"s"`
	Name    string `msg:"n"`
	Stat    bool   `msg:"st"` // without the value
}

// VariableData answers [ReadVariable].
type VariableData struct {
	Variable model.Variable `msg:"v"`
}

// List asks for what is in a directory: tenants (nothing set), services (Tenant), or the content of a service or of
// directory Name in it. Recursive goes all the way down. Answer: one or more [Entries], the last with More false.
type List struct {
	Tenant    string `msg:"t"`
	Service   string `msg:"s"`
	Name      string `msg:"n"`
	Recursive bool   `msg:"r"`
}

// Entries is a page of the answer to [List], in order of Path.
type Entries struct {
	Entries []model.Entry `msg:"e"`
	More    bool          `msg:"m"`
}

// GetStatus asks for [Status].
type GetStatus struct{}

// Status answers [GetStatus].
type Status struct {
	Server   model.ServerInfo    `msg:"srv"`
	Store    string              `msg:"st"`
	Rev      int64               `msg:"r"`
	Limits   model.Limits        `msg:"lim"`
	Services int                 `msg:"sv"`
	Loaded   int                 `msg:"ld"` // services held in memory
	Sessions []model.SessionInfo `msg:"ss"`
	More     int                 `msg:"mo"` // sessions that are not in the list, because it would be too long
	Damaged  int                 `msg:"dm"` // records of the store that cannot be read; the log of the server says which
	Bare     []model.BareInfo    `msg:"b"`
	MoreBare int                 `msg:"mb"` // bare services in memory that are not in the list

	Memory     []model.MemoryInfo `msg:"m"` // named services that somebody uses
	MoreMemory int                `msg:"mm"`
	Lease      int64              `msg:"le,omitempty"`
	Locks      int                `msg:"lk,omitempty"`
	LockWaits  int                `msg:"lw,omitempty"`
}

// CreateKey asks for a new API key; it needs RightAdmin. Answer: [KeyCreated].
type CreateKey struct {
	Name    string       `msg:"n"`
	Tenants []string     `msg:"t"` // patterns, path.Match; none: every tenant
	Rights  model.Rights `msg:"r"`
}

// KeyCreated carries the key, which is shown once and stored hashed.
type KeyCreated struct {
	Key string `msg:"k"`
}

// ListKeys asks for [Keys]; it needs RightAdmin.
type ListKeys struct{}

// Keys answers [ListKeys].
type Keys struct {
	Keys []model.KeyInfo `msg:"k"`
}

// RevokeKey ends a key and every session that uses it; it needs RightAdmin. Answer: [Done].
type RevokeKey struct {
	Name string `msg:"n"`
}

// Handover asks an automatic server to leave in favour of the caller; only over the Unix socket. Answer: [Done], then
// the server ends. A server that is not automatic answers CodeConflict and names its pid.
type Handover struct{}

// ServiceFileRotated is a push: the service has a new memory file. With Stored it is a bare service's file, which is where it was, and
// something was stored into it where no variable is.
type ServiceFileRotated struct {
	Service    uint64 `msg:"s"`
	Path       string `msg:"p"`
	Generation uint64 `msg:"g"`
	Stored     bool   `msg:"w,omitempty"`
}

// Goodbye says that the client leaves for good and will resend nothing. Answer: [Done].
type Goodbye struct{}

// Ping asks for [Done]: is the other side alive?
type Ping struct{}

// CacheVariables says that the client keeps values where it cannot look at them before each use, in a kernel's page cache: a
// change of these variables is acknowledged to nobody else before the client has answered with [ChangesConfirmed], or is cut
// off. Only over the Unix socket, and for a service that the client watches. Answer: [Done]; every change that is acknowledged
// without asking the client has been told before it.
type CacheVariables struct {
	Service uint64   `msg:"s"`
	IDs     []uint64 `msg:"i"`
	Off     bool     `msg:"o"` // it does not keep them any more
}

// ChangesConfirmed says that the client keeps no value any more that is older than a revision of a service which it was told.
// There is no answer.
type ChangesConfirmed struct {
	Service uint64 `msg:"s"`
	Rev     int64  `msg:"r"`
}
