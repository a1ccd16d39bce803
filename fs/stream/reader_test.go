package stream

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Of several lines the last is read alone: somebody who has read them all and seeks back to the second, as a shell does that reads
// by line, is told rightly that there is more.
func TestSeekingBack(t *testing.T) {
	f := newStream()
	r := f.Now()
	for _, text := range []string{"one", "two", "three", "four"} {
		f.put(text)
	}
	buf := make([]byte, 100)
	at := uint64(0)
	for _, want := range []string{"one\n", "two\n", "three\n", "four\n"} {
		if !r.Ready() {
			t.Fatalf("not ready before %q", want)
		}
		n, err := r.ReadAt(buf, at, false, nil)
		if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Fatalf("%q, %v, want %q", buf[:n], err, want)
		}
		at += uint64(len(want))
	}
	if r.Ready() {
		t.Error("ready at the end")
	}
	if _, err := r.ReadAt(buf, at, false, nil); !errors.Is(err, ErrAgain) {
		t.Errorf("at the end: %v", err)
	}
	if n, err := r.ReadAt(buf, 4, false, nil); err != nil || string(buf[:n]) != "two\nthree\n" {
		t.Errorf("back at 4: %q, %v", buf[:n], err)
	}
}

// A reader that asks where the end is reads as in a file that grows.
func TestFollowing(t *testing.T) {
	f := newStream()
	f.put("before")
	r := f.Now()
	buf := make([]byte, 100)
	f.put("one")
	if at := r.Follow(); at != 4 {
		t.Errorf("the end is at %d", at)
	}
	if n, err := r.ReadAt(buf, 4, true, nil); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
	f.put("two")
	if n, err := r.ReadAt(buf, 4, true, nil); err != nil || string(buf[:n]) != "two\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if n, err := r.ReadAt(buf, 0, true, nil); err != nil || string(buf[:n]) != "one\n" {
		t.Errorf("at the beginning: %q, %v", buf[:n], err)
	}
	if at := r.End(); at != 8 {
		t.Errorf("the end is at %d", at)
	}
}

// A file is never empty: its end is at 1 first, and who goes back to 0 misses nothing either.
func TestFollowingFromTheBeginning(t *testing.T) {
	for _, at := range []uint64{0, 1, 7000} {
		f := newStream()
		r := f.Now()
		buf := make([]byte, 100)
		if end := r.Follow(); end != 1 {
			t.Errorf("the end is at %d", end)
		}
		if n, err := r.ReadAt(buf, 0, true, nil); n != 0 || err != nil {
			t.Errorf("at 0: %d, %v", n, err)
		}
		r.Follow()
		f.put("one")
		f.put("two")
		for _, want := range []string{"one\n", "two\n", ""} {
			n, err := r.ReadAt(buf, at, true, nil)
			if err != nil || string(buf[:n]) != want {
				t.Errorf("%q, %v, want %q", buf[:n], err, want)
			}
			at += uint64(n)
		}
		if end := r.End(); end != at {
			t.Errorf("the end is at %d, want %d", end, at)
		}
	}
}

// Whoever is behind the end is at the end, and misses nothing from when he asked for it.
func TestBehindTheEnd(t *testing.T) {
	f := newStream()
	r := f.Now()
	buf := make([]byte, 100)
	r.Follow()
	for _, at := range []uint64{16384, 8192, 1} { // tail looks for lines before what it takes for the end
		if n, err := r.ReadAt(buf, at, true, nil); n != 0 || err != nil {
			t.Errorf("at %d: %d, %v", at, n, err)
		}
	}
	f.put("one")
	f.put("two")
	at := uint64(1000) // as another size of the file has it
	for _, want := range []string{"one\n", "two\n", ""} {
		n, err := r.ReadAt(buf, at, true, nil)
		if err != nil || string(buf[:n]) != want {
			t.Errorf("%q, %v, want %q", buf[:n], err, want)
		}
		at += uint64(n)
	}
	if n, err := r.ReadAt(buf, 5000, true, nil); n != 0 || err != nil {
		t.Errorf("behind it again: %q, %v", buf[:n], err)
	}
	f.put("three")
	if n, err := r.ReadAt(buf, 5000, true, nil); err != nil || string(buf[:n]) != "three\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// What was missed is told of at any size of reads, and a line that was begun is read to its end.
func TestMissedInParts(t *testing.T) {
	for _, size := range []int{1, 3, 7, 100} {
		f := newStream()
		r := f.Now()
		f.put("abcdef")
		all := read(t, r, min(size, 3))
		for i := range MaxLines + 4 {
			f.put(fmt.Sprint(i))
		}
		all += readAll(t, r, size)
		lines := strings.Split(all, "\n")
		if lines[0] != "abcdef" || !strings.HasPrefix(lines[1], "dropped 4 ") || lines[2] != "4" || len(lines) != MaxLines+3 {
			t.Errorf("in parts of %d: %d lines, %q", size, len(lines), lines[:3])
		}
		if _, _, missed := f.Stat(); missed != 4 {
			t.Errorf("in parts of %d: %d missed", size, missed)
		}
		if _, err := r.ReadAt(make([]byte, 10), 0, false, nil); !errors.Is(err, ErrGone) {
			t.Errorf("in parts of %d: what is gone: %v", size, err)
		}
	}
}

// The kernel asks for the next part of a large read if it gets as much as it has asked for. That must not wait.
func TestLinesThatFillARead(t *testing.T) {
	f := newStream()
	r := f.Now()
	f.put(strings.Repeat("x", 2*blockSize-1))
	if got := read(t, r, 2*blockSize); len(got) != 2*blockSize-1 {
		t.Errorf("%d bytes", len(got))
	}
	if got := read(t, r, 2*blockSize); got != "\n" {
		t.Errorf("the rest is %q", got)
	}
}
