// Package memfile is the memory file of a service: all its variables in one file that other processes of the same user map
// and read at memory speed. The server writes it ([Writer]); clients, in Go ([Reader]) or by docs/memfile.md in any
// language, read it.
//
// What it promises:
//
//   - A value read is whole and is one that was current during the read: a sequence word per entry shows a write that came
//     between, and the reader repeats. Readers never block a writer and never wait for one that is not writing.
//   - Nothing moves under a mapping and a mapped file is never truncated by the writer. When the file is full a new one is
//     built and renamed into place, then the old one says so in its header ([ErrSuperseded]), then the new one changes.
//   - An entry's index, the slot, stays the same for the life of a variable, also in the next file. Slots of deleted
//     variables are used again, which is why every read names the id it expects.
//   - What is read is untrusted: it is bounds-checked, copied once, then used. A file that is cut short or overwritten by
//     another process gives an error ([ErrCorrupt]), never a crash, on either side.
//   - The file is a view of state kept elsewhere: losing it loses nothing.
//
// Space for a value is allocated on the file system before it is written, because a store into a hole of a full tmpfs is a
// SIGBUS; without space an operation returns an error that is unix.ENOSPC and leaves the file as it was.
//
// Only 64-bit little-endian Linux is supported: amd64 and arm64. The race detector does not see mapped memory; the order of
// loads and stores is argued in seqlock.go and the fence files.
package memfile

import "errors"

// Limits of layout version 1. A reader takes anything beyond them for corruption, so that a broken file cannot make it
// allocate without bound.
const (
	MaxValue = 16 << 20 // bytes of a value
	MaxName  = 4096     // bytes of a name
	MaxSlots = 1 << 26  // entries of a directory
)

var (
	// ErrSuperseded is returned by a [Reader] whose file has been replaced: open the path again.
	ErrSuperseded = errors.New("memory file is superseded")
	// ErrNoEntry means that the slot does not hold the variable asked for.
	ErrNoEntry = errors.New("no such entry in the memory file")
	// ErrCorrupt means that the file breaks its own layout, was cut short, or is no memory file. A [Writer] that
	// returns it stays unusable: the caller abandons it and creates another.
	ErrCorrupt = errors.New("memory file is corrupt")
	// ErrTorn means that an entry did not hold still: its writer died, or stands still, in the middle of a write. The
	// value has to be had in another way.
	ErrTorn = errors.New("memory file entry does not hold still")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("memory file is closed")
	// ErrTooMany means that this process maps as many memory files as it may.
	ErrTooMany = errors.New("too many memory files are mapped")
	// ErrTooLarge means that a value, a name or a slot is beyond the layout's limits.
	ErrTooLarge = errors.New("too large for the memory file")
)

// State is the state word of a memory file.
type State uint32

// The states of a memory file.
const (
	Live       State = 1 // the writer keeps it current (or died without a word)
	Superseded State = 2 // another file took its place, or the writer gave it up
	Closed     State = 3 // the writer has left in good order; the values are the last
)

// Meta describes a value.
type Meta struct {
	Version uint64
	MTime   int64 // Unix nanoseconds
	Size    int
}

// Initial is a variable that a new memory file starts with.
type Initial struct {
	Slot    uint32
	ID      uint64 // not 0
	Version uint64
	MTime   int64
	Name    string
	Value   []byte
}

// Part is a part of a value.
type Part struct{ Off, Len int }
