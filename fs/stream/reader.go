package stream

import "sort"

// Reader reads a stream by position: 0 is where it began. Each position is a byte of the stream, or of a line that told of missed
// ones and took their place.
type Reader struct {
	f *Stream

	// Guarded by Stream.mu.
	begin   uint64 // position of what is at from
	from    uint64 // place in the stream, in bytes
	note    []byte // that told of what was missed, up to begin
	part    part   // the line that was read in part last
	at      uint64 // position behind what was read last
	read    place  // the same in the stream
	before  place  // where the last read began
	follows bool
	end     place // of the stream, when the reader asked for it
	closed  bool
}

// part is a line that is read in parts: the rest can be read also when it is not kept any more.
type part struct {
	line
	number uint64
}

// place is a place in a stream: in bytes, and the number of the first line behind.
type place struct{ byte, line uint64 }

// Lead has the reader read other lines first. It has not read anything yet.
func (r *Reader) Lead(lines []byte) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.note, r.begin = lines, uint64(len(lines))
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

// Ready reports whether a read that goes on behind the last would return at once with something, or with the end.
func (r *Reader) Ready() bool {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.f.ended || r.at < r.begin || r.read.byte < r.f.end
}

// End is the position of the end.
func (r *Reader) End() uint64 {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	return r.endLocked()
}

func (r *Reader) endLocked() uint64 { return r.begin + (r.f.end - r.from) }

// Follow is for a reader that asks where the end is, and returns its position. From then on it reads as in a file that grows:
// where there is nothing yet, it comes to the end. The end is never at 0: the file would be taken for an empty one, of which
// splice(2) reads nothing. So what comes first is at 1 for who goes there, and at 0 for who goes back.
func (r *Reader) Follow() uint64 {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.follows = true
	r.end = place{r.f.end, r.f.nextLocked()}
	if r.endLocked() == 0 {
		r.begin = 1
	}
	return r.endLocked()
}

// ReadAt fills buf with whole lines from a position on, and with a part of one only if that is longer than buf. Where there is
// nothing yet it waits until stop is closed, which is [ErrInterrupted], or, if wait is false, not at all. At the end of the
// stream, or for a reader that follows, it returns 0.
//
// Programs that read line by line, as shells do, read more and then seek back. So that [Reader.Ready] is right for these too,
// ReadAt does not take the last of several lines together with others: after it, somebody who seeks back never has to be told that
// there is something to read when there is not, or the other way round.
func (r *Reader) ReadAt(buf []byte, pos uint64, wait bool, stop <-chan struct{}) (int, error) {
	f := r.f
	for {
		f.mu.Lock()
		n, err := r.takeLocked(buf, pos)
		if n > 0 || err != nil || f.ended || r.follows || len(buf) == 0 {
			f.mu.Unlock()
			return n, err
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

func (r *Reader) takeLocked(buf []byte, pos uint64) (int, error) {
	f := r.f
	if r.follows && r.at == 0 && r.note == nil && pos <= 1 && r.begin <= 1 {
		r.begin = min(pos, r.begin)
	}
	if pos < r.begin {
		at := int(pos) - int(r.begin) + len(r.note)
		if at < 0 {
			return 0, ErrGone
		}
		n := copy(buf, r.note[at:])
		r.at = pos + uint64(n)
		return n, nil
	}
	from := r.from + pos - r.begin
	if from > f.end {
		// Whoever goes behind the end means the end: where it was when it was asked for, or else where it is.
		if !r.follows || r.end.byte < r.read.byte {
			r.end = place{f.end, f.nextLocked()}
		}
		r.follows = true
		if r.end.byte == f.end {
			return 0, nil // as long as there is nothing, it can go back
		}
		r.begin, r.from, r.note, r.part = pos, r.end.byte, nil, part{}
		r.at, r.read, r.before = pos, r.end, r.end
		from = r.from
	}
	if from >= r.part.at && from < r.part.end() {
		return r.restLocked(buf, pos, from), nil
	}
	if from < f.keptLocked() {
		return r.missedLocked(buf, pos, from), nil
	}
	i := sort.Search(len(f.lines), func(i int) bool { return f.lines[i].end() > from })
	if i == len(f.lines) {
		return 0, nil
	}
	number := f.first + uint64(i)
	if l := f.lines[i]; from > l.at || len(l.text) > room(buf) {
		r.part = part{l, number}
		return r.restLocked(buf, pos, from), nil
	}
	n, first := 0, i
	for ; i < len(f.lines) && len(f.lines[i].text) <= room(buf)-n && (i == first || i < len(f.lines)-1); i++ {
		n += copy(buf[n:], f.lines[i].text)
	}
	r.before = place{from, number}
	r.at, r.read = pos+uint64(n), place{from + uint64(n), f.first + uint64(i)}
	return n, nil
}

// blockSize is the least that the kernel splits a large read into.
const blockSize = 4096

// room is how much of buf is used: the kernel takes a read that fills a block for one part of a larger one, of which it asks for
// the next, and that can mean to wait.
func room(buf []byte) int {
	if len(buf) >= blockSize {
		return len(buf) - 1
	}
	return len(buf)
}

// restLocked reads of the line that is read in parts.
func (r *Reader) restLocked(buf []byte, pos, from uint64) int {
	p := &r.part
	n := copy(buf[:room(buf)], p.text[from-p.at:])
	r.before = place{from, p.number}
	r.at, r.read = pos+uint64(n), place{from + uint64(n), p.number}
	if r.read.byte == p.end() {
		r.read.line++
	}
	return n
}

// missedLocked tells of lines that were not read and are not kept.
func (r *Reader) missedLocked(buf []byte, pos, from uint64) int {
	f := r.f
	next := r.read.line
	if from != r.read.byte { // it has sought
		next = min(r.before.line, f.first-1)
	}
	r.begin = pos
	r.missed(f.first - next)
	n := copy(buf, r.note)
	r.at = pos + uint64(n)
	return n
}

// missed has the reader go on where what is kept begins, after a line that tells how many are missing.
func (r *Reader) missed(lost uint64) {
	f := r.f
	f.missed += lost
	r.note = f.dropped(lost, f.token(f.first-1))
	r.begin += uint64(len(r.note))
	r.from, r.part = f.keptLocked(), part{}
	r.read = place{r.from, f.first}
	r.before = r.read
}
