package model

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
	OpRegister               // a variable of a bare service at Layout; one that is there gets it, CodeExists with NoReplace
	OpResize                 // the bare service has Size bytes
	OpBare                   // a new bare service of Size bytes, which are rounded up to whole pages
	OpAdd                    // the number Data, to the number that is current; creates if Create is set
	OpExchange               // what has the name and what has the name To* get each other's; both are there
)

// Change is one step of a report. The target is named by ID (a variable, wherever it has been moved to) or by Tenant,
// Service and Name.
type Change struct {
	Op Op
	ID uint64
	// In is the id of the service in which the client last knew the variable ID: where the server looks for what it does
	// not hold in memory.
	In      uint64
	Tenant  string
	Service string
	Name    string

	ToTenant  string
	ToService string
	ToName    string
	NoReplace bool // OpRename, OpRegister: CodeExists if the target exists

	Base   uint64
	Ranges []RangeData
	Data   []byte
	Size   int64 // of a value, or of a bare service

	Layout  *Layout // OpRegister
	Overlap bool    // OpRegister: it may have bytes in common with other variables

	Whole bool // OpAdd: CodeInvalid or CodeRange unless the sum is a whole number of 64 bits with a sign

	Create  bool   // OpStore, OpAppend, OpAdd: create if missing
	Parents bool   // create missing tenant, service and directories as well
	NewID   uint64 // the id that a [Probe] reserved for the variable if it is created
	// HasVersion makes the change conditional: CodeConflict unless the variable's version is IfVersion (0: it must not
	// exist).
	HasVersion bool
	IfVersion  uint64
	// NewMode is the mode of what the change makes (OpStore, OpAppend, OpAdd, OpCreate, OpMkdir).
	NewMode Mode
	// Mode and MTime are given to a variable with its value, or by OpSetMeta to anything. 0: the mode stays. Without
	// HasMTime a new value's time is that of its commit.
	Mode     Mode
	HasMTime bool
	MTime    int64 // Unix nanoseconds
	// Expect is the id that a target named by its name must have: CodeConflict if the name has come to stand for another.
	// ToExpect is the same for what has the name To* (OpExchange).
	Expect   uint64
	ToExpect uint64
	// Within is the id of the directory, service or tenant that must have the name, and ToWithin the same for To*: CodeNotFound if
	// the path leads into another one. A directory can be renamed, or exchanged with another, while the change is on its way.
	Within   uint64
	ToWithin uint64
	// Lease is the one by which the client had locks when it made the change, 0: none. CodeLockLost if that is over.
	Lease uint64
}

// RangeData is bytes at an offset.
type RangeData struct {
	Off  int64
	Data []byte
}

// Result is what became of one change.
type Result struct {
	ID        uint64
	Version   uint64 // the version after the change
	MTime     int64
	Size      int64
	Unchanged bool   // it held these bytes already: no version, no event
	Number    string // OpAdd: the sum
}
