package model

// Tenant is a tenant as a session sees it.
type Tenant struct {
	ID     uint64
	Name   string
	MTime  int64
	Rights Rights
	Mode   Mode
}

// Service is a service as a session sees it.
type Service struct {
	ID     uint64
	Tenant uint64
	Name   string
	MTime  int64
	Mode   Mode
	Bare   int64 // bytes of a bare service; 0: it is a named one
}

// Dir is a directory inside a service.
type Dir struct {
	ID    uint64
	Name  string // path inside the service, components joined by '/'
	MTime int64
	Mode  Mode
}

// Variable is a variable's state.
type Variable struct {
	ID      uint64
	Name    string // path inside the service
	Version uint64
	MTime   int64 // commit time, or what somebody has set since, in Unix nanoseconds
	Mode    Mode
	Writer  string
	Size    int64
	Slot    uint32  // entry in the service memory file's directory
	Data    []byte  // the value, where it was asked for
	Layout  *Layout // of a registered variable; else nil
}

// TreeChange is one step of [TreeChanged]. Exactly one of Tenant.ID and Service.ID is set. Gone is set for a removal;
// otherwise the entity is new or, if its id is known, renamed (or moved to another tenant), or has another mode or mtime.
type TreeChange struct {
	Tenant  Tenant
	Service Service
	Gone    bool
	Own     bool // caused by this session's client
	// Time is when an entry of the directory above came, went or was renamed: the mtime of that directory. Else 0.
	Time int64
}

// Entry is one tenant, service, directory or variable.
type Entry struct {
	// Components from the root: tenant, service, and the parts of the variable's name.
	Tenant  string
	Service string
	Name    string
	Dir     bool
	ID      uint64
	Version uint64
	MTime   int64
	Mode    Mode
	Writer  string
	Size    int64
	Bare    int64   // of a bare service
	Layout  *Layout // of a registered variable; else nil
}
