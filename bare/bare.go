// Package bare keeps the files of bare services: a fixed number of bytes each and nothing else, which programs of this host
// map and store into without telling anybody.
//
// # Promises
//
//   - What a program stores into a mapping, or writes with write(2), is found, as long as it has the file open for writing:
//     at once if the program rings the bell or uses write(2), and by a scan otherwise, which takes about 1 % of a processor
//     for all files together, and more while it finds something. Nothing is done for a file that nobody has open for writing.
//   - A variable that is found to differ is told of whole, when it holds still, and again until the owner has dealt with it.
//   - What the owner puts is in the file whole, also if somebody stores into the same place at the time: that store is lost.
//     Aligned words of 1, 2, 4 and 8 bytes are never torn for anybody.
//   - A file is never made shorter while somebody else has it open. One that somebody else makes shorter, removes or replaces is
//     mended and reported; it never crashes this process.
//   - The bytes survive the death of every process, and are synced at most about a second after a change was found or put.
//
// # How stores are found
//
// The kernel keeps no account of stores into the page cache that another process could ask for: soft-dirty bits, userfaultfd and
// PAGEMAP_SCAN know the caller's own page tables alone. So the file is compared with a copy, the shadow, by package diff. Who has
// a file open for writing, through a descriptor or a mapping, is asked of the kernel by a lease: it is given only if nobody has.
// For that the server itself has the file open for writing only for a moment after a [File.Put]. There is no other way to ask that
// leaves no trace: who opens the file in the very moment waits for microseconds, or gets EWOULDBLOCK with O_NONBLOCK.
package bare

import (
	"errors"
	"time"
)

// MaxSize is how many bytes a file can have.
const MaxSize = 1 << 30

// PageSize is what sizes of files are multiples of.
const PageSize = 4096

// Variable is a range of a file that its owner has given a meaning. Ranges may overlap.
type Variable struct {
	ID      uint64
	Off     int64
	Size    int64
	Version uint64 // of the bytes that the owner knows
}

// word reports whether the variable is one that the processor stores at once.
func (v *Variable) word() bool { return v.Size <= 8 && v.Size&(v.Size-1) == 0 && v.Off&(v.Size-1) == 0 }

// Found is a variable whose bytes in the file are not those that the owner knows.
type Found struct {
	Variable        // Version is the one over which it was found
	Data     []byte // Size bytes; the receiver's own
}

// Owner is told what happens to a file. Its methods are called one at a time for a file, and never with a lock held. They may
// take long, which delays only this file.
type Owner interface {
	// Found says that variables have other bytes than their owner knows. None of them is told of again before the owner has
	// called [File.Took], [File.Put], [File.Lost] or [File.Renumber] for it.
	Found(found []Found)
	// Stored says that bytes outside of all variables have changed. Who waits for changes at the bell's file is told, too.
	Stored()
	// Broken says that the file was made shorter, removed or replaced by somebody, and has been mended as far as that goes.
	Broken(err error)
}

// State is what was noted of a file by who had it last, possibly another process.
type State struct {
	// Applied is the revision up to which all changes were in the file, and Synced that up to which they were on the disk.
	Applied, Synced int64
	// SameBoot is set if the machine has not been started since: then Applied holds, else Synced.
	SameBoot bool
	// Kept is up to where the file was there. What was behind is lost, and 0 now. MaxSize: nothing is lost.
	Kept int64
}

// Stats describes a file that is open.
type Stats struct {
	Writable bool          // somebody else has it open for writing
	Interval time.Duration // between two looks at all of it, while that is so
	Cost     time.Duration // of a scan
	Scans    uint64
	Rung     uint64 // how often the bell was heard
	Found    uint64 // variables that were told of
}

var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the file is closed")
	// ErrForeign means that what is at a file's place is not a file of this user's alone.
	ErrForeign = errors.New("not a file of this user")
	// ErrCut means that a file was made shorter by somebody.
	ErrCut = errors.New("the file was cut short")
	// ErrReplaced means that a file was removed or replaced by somebody. Programs that had it open go on with the old one, and
	// are not heard any more.
	ErrReplaced = errors.New("the file was removed or replaced")
)
