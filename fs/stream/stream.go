// Package stream keeps the last lines of a stream for readers that come and go.
//
// Its memory is bounded whatever readers do: the oldest lines go, and a reader that had not read them is told how many. Each
// line has a token, from which another reader can go on as long as the line is kept.
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

// Errors of [Stream.Since].
var (
	// ErrMalformed: the token is none.
	ErrMalformed = errors.New("not a token")
	// ErrExpired: the lines behind the token are not kept any more, or were another stream's.
	ErrExpired = errors.New("the token has expired")
)

// ErrAgain is returned by [Reader.Read] if there is nothing to read yet and it is not to wait.
var ErrAgain = errors.New("nothing to read yet")

// ErrInterrupted is returned by [Reader.Read] if the wait was ended.
var ErrInterrupted = errors.New("interrupted")

// Stream is a stream of lines. One goroutine adds to it.
type Stream struct {
	id      string
	dropped func(n uint64, token string) []byte // makes the line that tells a reader what it missed

	mu      sync.Mutex // guards the following
	lines   [][]byte
	first   uint64 // number of lines[0]
	bytes   int
	wake    chan struct{} // closed when there is more; nil: nobody waits
	ended   bool
	readers int
	missed  uint64 // lines that readers were told to have missed
	onMore  func() // called after lines were added
}

// New returns an empty stream. dropped makes the line, with its line break, for a reader that has missed n lines.
func New(dropped func(n uint64, token string) []byte) *Stream {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // does not fail
	return &Stream{id: hex.EncodeToString(b), dropped: dropped}
}

// OnMore sets what is called after each [Stream.Add], with no lock held, and at the end.
func (f *Stream) OnMore(fn func()) { f.onMore = fn }

// Add adds the line that make returns, given its token.
func (f *Stream) Add(make func(token string) []byte) {
	f.mu.Lock()
	next := f.first + uint64(len(f.lines))
	f.mu.Unlock()
	line := make(f.token(next))
	f.mu.Lock()
	f.lines = append(f.lines, line)
	f.bytes += len(line)
	for len(f.lines) > MaxLines || f.bytes > MaxBytes && len(f.lines) > 1 {
		f.bytes -= len(f.lines[0])
		f.lines[0] = nil
		f.lines = f.lines[1:]
		f.first++
	}
	f.moreLocked()
	f.mu.Unlock()
	if f.onMore != nil {
		f.onMore()
	}
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
	f.readers++
	return &Reader{f: f, next: f.first + uint64(len(f.lines))}
}

// Since returns a reader of the lines after the one with a token.
func (f *Stream) Since(token string) (*Reader, error) {
	id, number, ok := strings.Cut(token, ":")
	line, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || id == "" {
		return nil, ErrMalformed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if id != f.id || line+1 < f.first || line >= f.first+uint64(len(f.lines)) {
		return nil, ErrExpired
	}
	f.readers++
	return &Reader{f: f, next: line + 1}, nil
}

// Stat says how many readers there are, how many lines were added, and how many of them readers have missed.
func (f *Stream) Stat() (readers int, added, missed uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readers, f.first + uint64(len(f.lines)), f.missed
}

// Reader is a place in a stream. It may be used by several goroutines; each line goes to one of them.
type Reader struct {
	f *Stream

	// Guarded by Stream.mu.
	next   uint64 // line to read next
	rest   []byte // of a line that was read in part
	closed bool
}

// Close ends reading.
func (r *Reader) Close() {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	if !r.closed {
		r.closed = true
		r.f.readers--
	}
}

// Ready reports whether Read would return at once.
func (r *Reader) Ready() bool {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.readyLocked()
}

func (r *Reader) readyLocked() bool {
	return len(r.rest) > 0 || r.f.ended || r.next < r.f.first+uint64(len(r.f.lines))
}

// Read fills buf with whole lines, as many as there are, and with a part of one only if that is longer than buf. It waits for
// the first until stop is closed, which is [ErrInterrupted], or, if wait is false, not at all. At the end of the stream it
// returns 0.
func (r *Reader) Read(buf []byte, wait bool, stop <-chan struct{}) (int, error) {
	f := r.f
	for {
		f.mu.Lock()
		if r.readyLocked() {
			n := r.takeLocked(buf)
			f.mu.Unlock()
			return n, nil
		}
		if !wait {
			f.mu.Unlock()
			return 0, ErrAgain
		}
		if f.wake == nil {
			f.wake = make(chan struct{})
		}
		wake := f.wake
		f.mu.Unlock()
		select {
		case <-wake:
		case <-stop:
			return 0, ErrInterrupted
		}
	}
}

func (r *Reader) takeLocked(buf []byte) (n int) {
	f := r.f
	for {
		if len(r.rest) > 0 {
			c := copy(buf[n:], r.rest)
			r.rest = r.rest[c:]
			n += c
			if len(r.rest) > 0 {
				return n
			}
		}
		line, next := []byte(nil), r.next
		switch {
		case next < f.first:
			lost := f.first - next
			line, next = f.dropped(lost, f.token(f.first-1)), f.first
			if n == 0 || len(line) <= len(buf)-n {
				f.missed += lost
			}
		case next < f.first+uint64(len(f.lines)):
			line, next = f.lines[next-f.first], next+1
		default:
			return n
		}
		if n > 0 && len(line) > len(buf)-n {
			return n
		}
		r.rest, r.next = line, next
	}
}
