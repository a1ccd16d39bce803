package engine

// Bounds of one batch. A server that collects changes starts the next batch before either is reached.
const (
	MaxValue = 16 << 20             // bytes of one variable's value
	MaxBatch = MaxValue + (4 << 20) // bytes of all operations of a batch, by Op.Size
	MaxOps   = 16384                // operations of a batch
)

// FirstID is the first id that NextID gives in a fresh store; those below it are free for fixed uses.
const FirstID = 1024

// Tenant is the top level of the tree.
//
// Its services are stored under its prefix, which it keeps: a tenant that gets another name is one record, however many services it
// has.
type Tenant struct {
	ID     uint64
	Name   string
	Prefix string // "": Name
	MTime  int64  // Unix nanoseconds, here and below
	Mode   uint32 // the server's, here and below; 0: none was set
}

// Service is the second level. Its key holds the tenant's prefix and its name: a service is renamed, or moved to another tenant, by
// deleting it there and putting it under the new ones in one batch; everything inside hangs on its ID and stays.
type Service struct {
	ID     uint64
	Tenant string // its prefix
	Name   string
	MTime  int64
	Mode   uint32
}

// Dir is a directory inside a service.
//
// What is in it is stored under names that begin with its prefix, which it keeps: a directory that gets another name, or
// another place, is one record, however much is in it. At first the prefix is the directory's own stored name and a slash, which
// is the path inside the service as long as nothing above was renamed.
type Dir struct {
	ID     uint64
	Name   string // as it is stored: the prefix of the directory that it is in, and what it is called there
	Prefix string // "": Name and a slash
	// Home is the service under which the store has what is in it: that in which it was made. 0: the one under which it is stored
	// itself, which is the home of the directory that it is in.
	Home uint64
	// Least is the least version of all that is below: variables that are stored with a lower one have this one, since a rename.
	Least uint64
	MTime int64
	Mode  uint32
}

// Island is a directory that has been in more services than one, or is in one that was made in another service: what was made in
// Home, and is stored there under Prefix, belongs to Service. It may say so of a directory that is in Home again.
type Island struct {
	Home    uint64
	Prefix  string
	ID      uint64   // of the directory
	Service uint64   // where it is
	Was     []uint64 // the services where it was before
}

// Variable is a variable with its value.
type Variable struct {
	ID      uint64
	Name    string // as it is stored: the prefix of its directory, and what it is called there
	Version uint64
	MTime   int64
	Mode    uint32
	Writer  string
	Type    uint8
	// Data of a loaded variable belongs to the receiver. Data given to PutVariable is copied there and then.
	Data []byte
}

// Layout is where a variable lies in the memory of its service. Type is the server's.
type Layout struct {
	ID        uint64 // of the variable
	Off, Size int64
	Type      uint8
	BigEndian bool
}

// Result is an answer to a report of a client, kept for exactly-once. Slots are the server's to give: what is put into one
// takes the place of what was in it.
type Result struct {
	Client string // raw bytes
	Slot   uint64
	Data   []byte
}

// Client is the exactly-once record of a client as schema 1 had it: all answers together. It is only read.
type Client struct {
	ID   string // raw bytes
	Time int64
	Data []byte
}

// Key is an API key as it is kept: never the secret, only its hash.
type Key struct {
	Name    string
	Hash    [32]byte // SHA-256 of the secret
	Tenants []string // patterns
	Rights  uint32
	Created int64
}
