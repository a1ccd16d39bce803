// Package offline keeps edits of variables on disk that could not be sent to the server, until they are replayed.
//
// A [Queue] is a directory, one for each mount: a log of records, what was set aside, and a lock. An edit that [Queue.Append]
// has returned for is on the disk. Who replays takes the entries in their order, says which of them travel in which report
// ([Queue.Sending]) before they do, and what became of that ([Queue.Done]). So after a crash it is known of every entry
// whether it can have been carried out, and by which report: the server, asked for that report, knows what became of it.
// What cannot be replayed is set aside as a file with the value ([Queue.SetAside]); nothing else takes it away.
//
// The package knows neither the server nor the client; package sync replays.
package offline

import (
	"errors"
	"time"

	"github.com/commy-project/commyfs/model"
)

// Kind says how an [Edit] changes a value.
type Kind uint8

// The kinds of edits. Numbers are in the log: they are never reused.
const (
	Replace  Kind = iota + 1 // the value is Data
	Write                    // Data at Off; the value grows with zeros if it must
	Append                   // Data at the end
	Truncate                 // Size bytes
	Meta                     // only Mode and MTime
)

// Edit is a change of one variable.
type Edit struct {
	Kind     Kind
	Off      int64
	Size     int64
	Mode     model.Mode // 0: as it is
	HasMTime bool
	MTime    int64 // Unix nanoseconds
	Data     []byte
}

// Apply returns the value that the edit makes of another. It does not modify value, and can return memory of either.
func (e *Edit) Apply(value []byte) []byte {
	grown := func(n int64) []byte {
		out := make([]byte, n)
		copy(out, value)
		return out
	}
	switch e.Kind {
	case Replace:
		return e.Data
	case Write:
		out := grown(max(int64(len(value)), e.Off+int64(len(e.Data))))
		copy(out[e.Off:], e.Data)
		return out
	case Append:
		return append(value[:len(value):len(value)], e.Data...)
	case Truncate:
		return grown(e.Size)
	}
	return value
}

// Target is the variable that an entry changes.
type Target struct {
	// Key stands for the variable in the queue: its id, or, with New set, a number of the queue's user.
	Key uint64
	// New: it did not exist when its first entry was made, which creates it.
	New bool
	// In is the id of its service.
	In                    uint64
	Tenant, Service, Name string
	// Within is, with New set, the id of the directory or service in which it was made; 0: not known.
	Within uint64
}

// Path is the variable's path from the root, its components separated by slashes.
func (t *Target) Path() string { return t.Tenant + "/" + t.Service + "/" + t.Name }

// Doubt says that an edit was sent and not answered, so that it may have been carried out.
type Doubt struct {
	Client [16]byte // and Seq: the report
	Seq    uint64
	First  int64 // when it was first sent, Unix nanoseconds
	// Lost: by which report is not known any more; see [Queue.Damaged].
	Lost bool
	// Size is that of the value before the edit, Sum the SHA-256 of the one that the edit makes.
	Size int64
	Sum  [32]byte
}

// Entry is an edit in the queue. Those that the queue returns have no bytes: see [Queue.Load].
type Entry struct {
	N    uint64 // its number: later entries have higher ones
	Prev uint64 // of the entry of the same variable before it, 0: none was in the queue
	Time int64  // when it was made, Unix nanoseconds
	Target
	// Base is the version that the variable's first entry was made over.
	Base uint64
	Edit
	// HasBefore: Before is the value before the edit. The first one that needs to know it for its value has it.
	HasBefore bool
	Before    []byte
	Doubt     *Doubt // nil: it was never sent, or only by [Queue.Sending]
	// Gap: an entry of the variable that came before it is lost.
	Gap bool
}

// Sending is a report that may be under way.
type Sending struct {
	Client [16]byte
	Seq    uint64
	First  int64    // when it was first sent, Unix nanoseconds
	N      []uint64 // the entries in it, in order
}

// Progress is how far the server has come with a variable.
type Progress struct {
	Key     uint64
	ID      uint64 // the variable's id
	Version uint64 // that the last entry made
}

// Limits bound a queue.
type Limits struct {
	Entries int
	Bytes   int64 // of the entries in the log, with some 100 bytes for each
}

// The default limits.
const (
	DefaultEntries = 100_000
	DefaultBytes   = 64 << 20
)

// Stats describes a queue.
type Stats struct {
	Entries   int
	Bytes     int64
	Variables int
	Oldest    time.Time // the zero time if there are none
	Aside     int       // what was set aside and not taken yet
	Damaged   int       // damaged places in logs that were found
	Limits    Limits
	// Refused is of how many variables the server takes nothing for now, and Why its last reason. The queue's user knows.
	Refused int
	Why     string
}

// Errors of a queue. They are *[model.Error] where a writer gets them.
var (
	// ErrFull says that the limits do not allow another entry.
	ErrFull = &model.Error{Code: model.CodeQuota, Message: "the offline queue is full"}
	// ErrNoSpace says that the disk does not.
	ErrNoSpace = &model.Error{Code: model.CodeNoSpace, Message: "no space for the offline queue"}
	// ErrLocked says that another mount uses the queue.
	ErrLocked = errors.New("another mount uses the offline queue")
	errClosed = &model.Error{Code: model.CodeUnavailable, Message: "the offline queue is closed"}
)
