// Package stream keeps the last lines of a stream for readers that come and go.
//
// Its memory is bounded whatever readers do: the oldest lines go, and a reader that had not read them is told how many. Each
// line has a token, from which another reader can go on as long as the line is kept. A reader reads by position, as in a file
// that has what was added since it was opened.
package stream

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"sync"
)

// The bounds of what is kept.
const (
	MaxLines = 16 << 10
	MaxBytes = 16 << 20
)

// ErrMalformed is returned by [Stream.Since] if the token is none.
var ErrMalformed = errors.New("not a token")

// Errors of [Reader.ReadAt].
var (
	// ErrAgain: there is nothing to read yet, and it is not to wait.
	ErrAgain = errors.New("nothing to read yet")
	// ErrInterrupted: the wait was ended.
	ErrInterrupted = errors.New("interrupted")
	// ErrGone: what was there has been read, and is not kept any more.
	ErrGone = errors.New("not kept any more")
)

// Stream is a stream of lines. One goroutine adds to it.
type Stream struct {
	id      string
	dropped func(n uint64, token string) []byte // makes the line that tells a reader what it missed

	mu      sync.Mutex // guards the following
	lines   []line
	first   uint64        // number of lines[0]
	end     uint64        // bytes that were added
	wake    chan struct{} // closed when there is more; nil: nobody waits
	ended   bool
	readers int
	missed  uint64 // lines that readers were told to have missed
	onMore  func() // called after lines were added
}

// line is a line and where it begins, in bytes that were added.
type line struct {
	at   uint64
	text []byte
}

func (l *line) end() uint64 { return l.at + uint64(len(l.text)) }

// New returns an empty stream. dropped makes the line, with its line break, for a reader that has missed n lines; 0: nobody knows
// how many.
func New(dropped func(n uint64, token string) []byte) *Stream {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // does not fail
	return &Stream{id: hex.EncodeToString(b), dropped: dropped, first: 1}
}

// OnMore sets what is called after each [Stream.Add], with no lock held, and at the end.
func (f *Stream) OnMore(fn func()) { f.onMore = fn }

// Add adds the line that make returns, given its token.
func (f *Stream) Add(make func(token string) []byte) {
	f.mu.Lock()
	next := f.nextLocked()
	f.mu.Unlock()
	text := make(f.token(next))
	f.mu.Lock()
	f.lines = append(f.lines, line{f.end, text})
	f.end += uint64(len(text))
	for len(f.lines) > MaxLines || f.end-f.lines[0].at > MaxBytes && len(f.lines) > 1 {
		f.lines[0].text = nil
		f.lines = f.lines[1:]
		f.first++
	}
	f.moreLocked()
	f.mu.Unlock()
	if f.onMore != nil {
		f.onMore()
	}
}

// nextLocked is the number of the next line.
func (f *Stream) nextLocked() uint64 { return f.first + uint64(len(f.lines)) }

// keptLocked is where what is kept begins.
func (f *Stream) keptLocked() uint64 {
	if len(f.lines) == 0 {
		return f.end
	}
	return f.lines[0].at
}

func (f *Stream) moreLocked() {
	if f.wake != nil {
		close(f.wake)
		f.wake = nil
	}
}

// token is what a reader goes on from that has read the line of that number.
func (f *Stream) token(line uint64) string { return f.id + ":" + strconv.FormatUint(line, 10) }

// End ends the stream: readers come to its end when they have read what is there.
func (f *Stream) End() {
	f.mu.Lock()
	f.ended = true
	f.moreLocked()
	f.mu.Unlock()
	if f.onMore != nil {
		f.onMore()
	}
}

// Now returns a reader of what is added from now on.
func (f *Stream) Now() *Reader {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readerLocked(f.end, f.nextLocked())
}

// Since returns a reader of the lines after the one with a token. If they are not all kept, or were another stream's, it is not
// whole: the first line that it reads says so.
func (f *Stream) Since(token string) (r *Reader, whole bool, err error) {
	id, number, ok := strings.Cut(token, ":")
	line, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || id == "" {
		return nil, false, ErrMalformed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch next := f.nextLocked(); {
	case id != f.id || line >= next:
		r := f.readerLocked(f.end, next)
		r.note = f.dropped(0, f.token(next-1))
		r.begin = uint64(len(r.note))
		return r, false, nil
	case line+1 == next:
		return f.readerLocked(f.end, next), true, nil
	case line+1 < f.first:
		r := f.readerLocked(f.keptLocked(), f.first)
		r.missed(f.first - line - 1)
		return r, false, nil
	}
	return f.readerLocked(f.lines[line+1-f.first].at, line+1), true, nil
}

func (f *Stream) readerLocked(at, number uint64) *Reader {
	f.readers++
	return &Reader{f: f, from: at, read: place{at, number}, before: place{at, number}}
}

// Size is how many bytes were added.
func (f *Stream) Size() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.end
}

// Stat says how many readers there are, how many lines were added, and how many of them readers have missed.
func (f *Stream) Stat() (readers int, added, missed uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readers, f.nextLocked() - 1, f.missed
}
