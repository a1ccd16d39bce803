package model

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
	Kind    EventKind
	ID      uint64
	Name    string
	OldName string
	// Other is the id of what gets OldName at the same moment, and had Name: the two are exchanged. Its own event comes right
	// behind the first, and tells nothing new. Else 0.
	Other uint64
	// Above is the highest version that there may have been before under the new names, of another variable: each variable that is
	// renamed so has a version above it now, see [Event.Risen]. Only in EventRename and EventRenameDir.
	Above uint64
	// Moved is the id of another service: that which a variable or directory has gone to in the same step (EventDelete, EventRmdir,
	// of a directory with all that is in it) or has come from (EventSet of what is created, EventMkdir; all that is in a
	// directory has events of its own behind it, which have it too). It has the same id there. 0: it is gone, or new. Other is
	// then what it is exchanged with, if that goes the other way.
	Moved   uint64
	Version uint64
	MTime   int64
	Mode    Mode
	Time    int64 // when it came, went or was renamed: the mtime of the directories that this changes. Else 0
	Writer  string
	Size    int64
	Slot    uint32
	Created bool // EventSet: the variable is new
	// The value of an EventSet, when the watch asked for values: Base 0: Data is the whole value; Base > 0: Ranges
	// over the value of version Base, the result being Size bytes; Echo > 0: no bytes, the client has them itself, in
	// its own report of that sequence number.
	Base   uint64
	Ranges []RangeData
	Data   []byte
	Echo   uint64
	Own    bool // caused by this session's client
}

// Risen is the version that a variable has after a rename, which had the given one before. The value is the same, but a version
// that was seen under a name is never that of another value under the same name.
func (e *Event) Risen(version uint64) uint64 { return max(version, e.Above+1) }
