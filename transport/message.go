package transport

//go:generate go run github.com/tinylib/msgp@v1.6.5 -file=message.go -tests=false -io=false
//go:generate go run github.com/tinylib/msgp@v1.6.5 -file=errors.go -tests=false -io=false

// Message is the closed set of bodies that a frame can carry. Requests are sent by the client and answered by the
// reply named beside them, or by [Error]; pushes have request id 0 and come from the server alone.
type Message interface {
	messageType() Type
	MarshalMsg([]byte) ([]byte, error)
	UnmarshalMsg([]byte) ([]byte, error)
	Msgsize() int
}

// Type numbers a message on the wire. Numbers are never reused.
type Type uint8

// The message types of protocol v2.
const (
	TypeError Type = iota + 1
	TypeDone
	TypeHello
	TypeWelcome
	TypeWatchTree
	TypeTree
	TypeTreeChanged
	TypeWatch
	TypeSnapshot
	TypeVariableChanged
	TypeUnwatch
	TypeReportVariableChanges
	TypeVariableChangesAcknowledged
	TypeGetServiceFilePath
	TypeServiceFilePath
	TypeProbe
	TypeProbed
	TypeReadVariable
	TypeVariableData
	TypeList
	TypeEntries
	TypeGetStatus
	TypeStatus
	TypeCreateKey
	TypeKeyCreated
	TypeListKeys
	TypeKeys
	TypeRevokeKey
	TypeHandover
	TypeServiceFileRotated
	TypeGoodbye
	TypePing
)

// Rights is a set of what a session may do in a tenant.
type Rights uint32

// The rights; an API key carries any of them.
const (
	RightRead Rights = 1 << iota
	RightWrite
	RightCreate
	RightDelete
	RightAdmin
)

// Mode is nine permission bits with [ModeSet]. The zero Mode says that nobody has set any.
type Mode uint16

// ModeSet marks a Mode whose bits somebody has set, be they 0.
const ModeSet Mode = 1 << 15

// NewMode is the Mode of permission bits; others in perm are left out.
func NewMode(perm uint32) Mode { return ModeSet | Mode(perm&0o777) }

// Perm returns the permission bits, where nobody has set any those of a new directory or file.
func (m Mode) Perm(dir bool) uint32 {
	switch {
	case m&ModeSet != 0:
		return uint32(m & 0o777)
	case dir:
		return 0o777
	}
	return 0o666
}

// Done answers a request that has nothing to say but that it was carried out.
type Done struct{}

// Hello is the first request on a connection. Answer: [Welcome].
type Hello struct {
	// Client names the client across reconnects: 16 random bytes, the key of exactly-once delivery.
	Client   []byte `msg:"c,zerocopy"`
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
	Store  string     `msg:"st"`
	Server ServerInfo `msg:"srv"`
	Limits Limits     `msg:"lim"`
	// Local is true over a Unix socket: memory files can be opened by path.
	Local bool `msg:"l"`
}

// ServerInfo describes the server process.
type ServerInfo struct {
	Pid     int    `msg:"pid" json:"pid"`
	Version string `msg:"v" json:"version"`
	Mode    string `msg:"mode" json:"mode"` // "auto" or "serve"
	URL     string `msg:"url" json:"url"`   // the wss URL it listens on, else unix://
	Host    string `msg:"h" json:"host"`
	Started int64  `msg:"t" json:"started"` // Unix nanoseconds
}

// Limits are the server's bounds (S22).
type Limits struct {
	Value     int64 `msg:"v" json:"value"`     // bytes a variable can hold
	Name      int   `msg:"n" json:"name"`      // bytes of a variable's whole name
	Component int   `msg:"c" json:"component"` // bytes of one path component, escaped
	Free      int64 `msg:"f" json:"free"`      // bytes free under the state directory
	Total     int64 `msg:"t" json:"total"`     // bytes of the file system that holds the state directory
}

// WatchTree asks for all tenants and services that the session may see, then for every change of them as
// [TreeChanged]. Answer: one or more [Tree], the last with More false.
type WatchTree struct{}

// Tree is a page of the answer to [WatchTree].
type Tree struct {
	Tenants  []TenantInfo  `msg:"t"`
	Services []ServiceInfo `msg:"s"`
	Rev      int64         `msg:"r"` // engine revision the pages are of
	More     bool          `msg:"m"`
}

// TenantInfo is a tenant as a session sees it.
type TenantInfo struct {
	ID     uint64 `msg:"id"`
	Name   string `msg:"n"`
	MTime  int64  `msg:"mt"`
	Rights Rights `msg:"r"`
	Mode   Mode   `msg:"mo"`
}

// ServiceInfo is a service as a session sees it.
type ServiceInfo struct {
	ID     uint64 `msg:"id"`
	Tenant uint64 `msg:"t"`
	Name   string `msg:"n"`
	MTime  int64  `msg:"mt"`
	Mode   Mode   `msg:"mo"`
}

// TreeChanged is a push: tenants or services came, went or were renamed, in order.
type TreeChanged struct {
	Rev     int64        `msg:"r"`
	Changes []TreeChange `msg:"c"`
}

// TreeChange is one step of [TreeChanged]. Exactly one of Tenant.ID and Service.ID is set. Gone is set for a removal;
// otherwise the entity is new or, if its id is known, renamed (or moved to another tenant), or has another mode or mtime.
type TreeChange struct {
	Tenant  TenantInfo  `msg:"t"`
	Service ServiceInfo `msg:"s"`
	Gone    bool        `msg:"g"`
	Own     bool        `msg:"o"` // caused by this session's client
	// Time is when an entry of the directory above came, went or was renamed: the mtime of that directory. Else 0.
	Time int64 `msg:"tm"`
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
	Service uint64     `msg:"s"`
	Root    DirInfo    `msg:"rt"` // the service itself, as a directory
	Resumed bool       `msg:"re"`
	Dirs    []DirInfo  `msg:"d"`
	Vars    []Variable `msg:"v"`
	Changes []Event    `msg:"c"`
	Rev     int64      `msg:"r"`
	More    bool       `msg:"m"`
}

// DirInfo is a directory inside a service.
type DirInfo struct {
	ID    uint64 `msg:"id"`
	Name  string `msg:"n"` // path inside the service, components joined by '/'
	MTime int64  `msg:"mt"`
	Mode  Mode   `msg:"mo"`
}

// Variable is a variable's state.
type Variable struct {
	ID      uint64 `msg:"id"`
	Name    string `msg:"n"` // path inside the service
	Version uint64 `msg:"v"`
	MTime   int64  `msg:"mt"` // commit time, or what somebody has set since, in Unix nanoseconds
	Mode    Mode   `msg:"mo"`
	Writer  string `msg:"w"`
	Size    int64  `msg:"z"`
	Slot    uint32 `msg:"sl"`         // entry in the service memory file's directory
	Data    []byte `msg:"d,zerocopy"` // the value, where it was asked for
}

// Unwatch ends a [Watch]. Answer: [Done].
type Unwatch struct {
	Service uint64 `msg:"s"`
}

// VariableChanged is a push: changes of one service in order. They are applied as one step: a reader sees all or none.
type VariableChanged struct {
	Service uint64  `msg:"s"`
	Rev     int64   `msg:"r"`
	Changes []Event `msg:"c"`
}

// EventKind says what an [Event] did.
type EventKind uint8

// The kinds of events.
const (
	EventSet    EventKind = iota + 1 // a variable was created or its value changed
	EventDelete                      // a variable is gone
	EventRename                      // a variable has another name (Name; before: OldName)
	EventMkdir
	EventRmdir
	EventRenameDir // a directory and everything below it: from OldName to Name
	EventMeta      // a variable or directory (Name "": the service itself) has another mode or mtime, and the same version
)

// Event is one change of a service.
type Event struct {
	Kind    EventKind `msg:"k"`
	ID      uint64    `msg:"id"`
	Name    string    `msg:"n"`
	OldName string    `msg:"on"`
	Version uint64    `msg:"v"`
	MTime   int64     `msg:"mt"`
	Mode    Mode      `msg:"mo"`
	Time    int64     `msg:"tm"` // when it came, went or was renamed: the mtime of the directories that this changes. Else 0
	Writer  string    `msg:"w"`
	Size    int64     `msg:"z"`
	Slot    uint32    `msg:"sl"`
	Created bool      `msg:"cr"` // EventSet: the variable is new
	// The value of an EventSet, when the watch asked for values: Base 0: Data is the whole value; Base > 0: Ranges
	// over the value of version Base, the result being Size bytes; Echo > 0: no bytes, the client has them itself, in
	// its own report of that sequence number.
	Base   uint64      `msg:"b"`
	Ranges []RangeData `msg:"rg"`
	Data   []byte      `msg:"d,zerocopy"`
	Echo   uint64      `msg:"e"`
	Own    bool        `msg:"o"` // caused by this session's client
}

// RangeData is bytes at an offset.
type RangeData struct {
	Off  int64  `msg:"o"`
	Data []byte `msg:"d,zerocopy"`
}

// ReportVariableChanges asks the server to carry out changes, all or none of them, in order, exactly once for each
// (client, Seq). Answer: [VariableChangesAcknowledged], also when they were refused.
type ReportVariableChanges struct {
	Seq uint64 `msg:"q"` // > 0, rising within a client
	// Floor: the client has the answers to all reports below it and will not ask again.
	Floor   uint64   `msg:"f"`
	Changes []Change `msg:"c"`
	// Age is how long ago, in nanoseconds, the report was sent for the first time; 0: this is the first time. It tells a
	// server that does not know the client whether it may have forgotten it: then the answer is CodeForgotten.
	Age int64 `msg:"a"`
}

// Op says what a [Change] asks for.
type Op uint8

// The operations.
const (
	OpStore    Op = iota + 1 // the whole value (Data); creates the variable if Create is set
	OpPatch                  // Ranges over version Base, the result being Size bytes; no ranges and the same size: "unchanged"
	OpWrite                  // Ranges over whatever is current; the value grows with zeros if it must
	OpAppend                 // Data at the end of whatever is current; creates if Create is set
	OpTruncate               // Size bytes of whatever is current, zeros added if it is shorter
	OpCreate                 // a new, empty variable; CodeExists if the name is taken
	OpDelete                 // a variable
	OpRename                 // variable, directory, service or tenant, to To*; over a variable it replaces that one's value
	OpMkdir                  // tenant (only Tenant set), service (Tenant, Service) or directory
	OpRmdir                  // the same, empty
	OpSetMeta                // only Mode and MTime, of a variable, directory, service or tenant: no new version
)

// Change is one step of a report. The target is named by ID (a variable, wherever it has been moved to) or by Tenant,
// Service and Name.
type Change struct {
	Op Op     `msg:"op"`
	ID uint64 `msg:"id"`
	// In is the id of the service in which the client last knew the variable ID: where the server looks for what it does
	// not hold in memory.
	In      uint64 `msg:"in"`
	Tenant  string `msg:"t"`
	Service string `msg:"s"`
	Name    string `msg:"n"`

	ToTenant  string `msg:"tt"`
	ToService string `msg:"ts"`
	ToName    string `msg:"tn"`
	NoReplace bool   `msg:"nr"` // OpRename: CodeExists if the target exists

	Base   uint64      `msg:"b"`
	Ranges []RangeData `msg:"rg"`
	Data   []byte      `msg:"d,zerocopy"`
	Size   int64       `msg:"z"`

	Create  bool   `msg:"cr"` // OpStore, OpAppend: create if missing
	Parents bool   `msg:"pa"` // create missing tenant, service and directories as well
	NewID   uint64 `msg:"ni"` // the id that a [Probe] reserved for the variable if it is created
	// HasVersion makes the change conditional: CodeConflict unless the variable's version is IfVersion (0: it must not
	// exist).
	HasVersion bool   `msg:"hv"`
	IfVersion  uint64 `msg:"iv"`
	// NewMode is the mode of what the change makes (OpStore, OpAppend, OpCreate, OpMkdir).
	NewMode Mode `msg:"nm"`
	// Mode and MTime are given to a variable with its value, or by OpSetMeta to anything. 0: the mode stays. Without
	// HasMTime a new value's time is that of its commit.
	Mode     Mode  `msg:"mo"`
	HasMTime bool  `msg:"ht"`
	MTime    int64 `msg:"mt"` // Unix nanoseconds
	// Expect is the id that a target named by its name must have: CodeConflict if the name has come to stand for another.
	Expect uint64 `msg:"x"`
}

// VariableChangesAcknowledged answers [ReportVariableChanges]: the changes are stored, or, with Code set, none is.
type VariableChangesAcknowledged struct {
	Seq     uint64   `msg:"q"`
	Code    Code     `msg:"e"`
	Message string   `msg:"em"`
	Index   int      `msg:"i"` // which change was refused
	Rev     int64    `msg:"r"`
	Results []Result `msg:"rs"` // one for each change
}

// Result is what became of one change.
type Result struct {
	ID        uint64 `msg:"id"`
	Version   uint64 `msg:"v"` // the version after the change
	MTime     int64  `msg:"mt"`
	Size      int64  `msg:"z"`
	Unchanged bool   `msg:"u"` // it held these bytes already: no version, no event
}

// GetServiceFilePath asks where a service's memory file is. Answer: [ServiceFilePath], or CodeUnsupported over a network.
type GetServiceFilePath struct {
	Service uint64 `msg:"s"`
}

// ServiceFilePath answers [GetServiceFilePath].
type ServiceFilePath struct {
	Path       string `msg:"p"`
	Generation uint64 `msg:"g"`
}

// Probe asks whether a change of the target would be accepted now: the server is reachable, the right holds, there is
// space, and there can be a variable of that name. Answer: [Probed].
type Probe struct {
	ID      uint64 `msg:"id"`
	In      uint64 `msg:"in"` // as in Change
	Tenant  string `msg:"t"`
	Service string `msg:"s"`
	Name    string `msg:"n"`
	Want    Rights `msg:"w"`
	Reserve bool   `msg:"r"` // set an id aside for a variable to be created
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
	Variable Variable `msg:"v"`
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
	Entries []Entry `msg:"e"`
	More    bool    `msg:"m"`
}

// Entry is one tenant, service, directory or variable.
type Entry struct {
	// Components from the root: tenant, service, and the parts of the variable's name.
	Tenant  string `msg:"t"`
	Service string `msg:"s"`
	Name    string `msg:"n"`
	Dir     bool   `msg:"d"`
	ID      uint64 `msg:"id"`
	Version uint64 `msg:"v"`
	MTime   int64  `msg:"mt"`
	Mode    Mode   `msg:"mo"`
	Writer  string `msg:"w"`
	Size    int64  `msg:"z"`
}

// GetStatus asks for [Status].
type GetStatus struct{}

// Status answers [GetStatus].
type Status struct {
	Server   ServerInfo   `msg:"srv"`
	Store    string       `msg:"st"`
	Rev      int64        `msg:"r"`
	Limits   Limits       `msg:"lim"`
	Services int          `msg:"sv"`
	Loaded   int          `msg:"ld"` // services held in memory
	Sessions []ClientInfo `msg:"ss"`
	More     int          `msg:"mo"` // sessions that are not in the list, because it would be too long
	Damaged  int          `msg:"dm"` // records of the store that cannot be read; the log of the server says which
}

// ClientInfo describes a session, for status.
type ClientInfo struct {
	Program   string `msg:"p" json:"program"`
	Pid       int    `msg:"pid" json:"pid"`
	Host      string `msg:"h" json:"host"`
	Mount     string `msg:"m" json:"mount,omitempty"`
	User      string `msg:"u" json:"user"` // peer uid or key name
	Remote    string `msg:"ra" json:"remote"`
	Connected int64  `msg:"t" json:"connected"`
}

// CreateKey asks for a new API key; it needs RightAdmin. Answer: [KeyCreated].
type CreateKey struct {
	Name    string   `msg:"n"`
	Tenants []string `msg:"t"` // patterns, path.Match; none: every tenant
	Rights  Rights   `msg:"r"`
}

// KeyCreated carries the key, which is shown once and stored hashed.
type KeyCreated struct {
	Key string `msg:"k"`
}

// ListKeys asks for [Keys]; it needs RightAdmin.
type ListKeys struct{}

// Keys answers [ListKeys].
type Keys struct {
	Keys []KeyInfo `msg:"k"`
}

// KeyInfo describes an API key.
type KeyInfo struct {
	Name    string   `msg:"n" json:"name"`
	Tenants []string `msg:"t" json:"tenants"`
	Rights  Rights   `msg:"r" json:"-"`
	Created int64    `msg:"c" json:"created"`
}

// RevokeKey ends a key and every session that uses it; it needs RightAdmin. Answer: [Done].
type RevokeKey struct {
	Name string `msg:"n"`
}

// Handover asks an automatic server to leave in favour of the caller; only over the Unix socket. Answer: [Done], then
// the server ends. A server that is not automatic answers CodeConflict and names its pid.
type Handover struct{}

// ServiceFileRotated is a push: the service has a new memory file.
type ServiceFileRotated struct {
	Service    uint64 `msg:"s"`
	Path       string `msg:"p"`
	Generation uint64 `msg:"g"`
}

// Goodbye says that the client leaves for good and will resend nothing. Answer: [Done].
type Goodbye struct{}

// Ping asks for [Done]: is the other side alive?
type Ping struct{}
