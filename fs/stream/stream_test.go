package stream

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func newStream() *Stream {
	return New(func(n uint64, token string) []byte { return fmt.Appendf(nil, "dropped %d %s\n", n, token) })
}

func (f *Stream) put(text string) (token string) {
	f.Add(func(t string) []byte { token = t; return []byte(text + "\n") })
	return token
}

func read(t *testing.T, r *Reader, size int) string {
	t.Helper()
	buf := make([]byte, size)
	n, err := r.ReadAt(buf, r.at, false, nil)
	if err != nil && !errors.Is(err, ErrAgain) {
		t.Fatal(err)
	}
	return string(buf[:n])
}

// readAll reads until there is nothing more.
func readAll(t *testing.T, r *Reader, size int) string {
	t.Helper()
	var all strings.Builder
	for {
		s := read(t, r, size)
		if s == "" {
			return all.String()
		}
		all.WriteString(s)
	}
}

func TestReadersHaveTheirOwnPlace(t *testing.T) {
	f := newStream()
	f.put("before")
	a := f.Now()
	if a.Ready() {
		t.Error("there is something to read")
	}
	one := f.put("one")
	b := f.Now()
	f.put("two")
	if got := readAll(t, a, 100); got != "one\ntwo\n" {
		t.Errorf("a reads %q", got)
	}
	if got := read(t, b, 100); got != "two\n" {
		t.Errorf("b reads %q", got)
	}
	c, _, err := f.Since(one)
	if err != nil || read(t, c, 100) != "two\n" {
		t.Errorf("since %s: %v", one, err)
	}
	c.Close()
	c.Close()
	if readers, added, missed := f.Stat(); readers != 2 || added != 3 || missed != 0 {
		t.Errorf("%d readers, %d added, %d missed", readers, added, missed)
	}
}

// Lines come whole, unless one is longer than what it is read into.
func TestPartsOfLines(t *testing.T) {
	f := newStream()
	r := f.Now()
	f.put("12345")
	f.put("6789")
	f.put("0")
	var got []string
	for {
		s := read(t, r, 8)
		if s == "" {
			break
		}
		got = append(got, s)
	}
	if want := []string{"12345\n", "6789\n", "0\n"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
	f.put(strings.Repeat("x", 20))
	f.put("y")
	if got := read(t, r, 15) + "|" + read(t, r, 15); got != strings.Repeat("x", 15)+"|xxxxx\n" {
		t.Errorf("a long line: %q", got)
	}
}

func TestDropped(t *testing.T) {
	f := newStream()
	r := f.Now()
	first := f.put("0")
	var last string
	for i := 1; i < MaxLines+10; i++ {
		last = f.put(fmt.Sprint(i))
	}
	if r, whole, err := f.Since(first); err != nil || whole || !r.Ready() {
		t.Errorf("since what is gone: %v", err)
	} else if got := readAll(t, r, 30); !strings.HasPrefix(got, "dropped 9 "+f.id+":10\n10\n11\n") {
		t.Errorf("since what is gone: %.50q", got)
	}
	if r, whole, err := f.Since(last); err != nil || !whole || r.Ready() {
		t.Errorf("since the last: %v", err)
	}
	if got, want := read(t, r, 40), "dropped 10 "; !strings.HasPrefix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := read(t, r, 3); got != "10\n" {
		t.Errorf("then %q", got)
	}
	big := strings.Repeat("x", 1<<20)
	for range 20 {
		f.put(big)
	}
	if n := f.end - f.keptLocked(); n > MaxBytes {
		t.Errorf("%d bytes are kept", n)
	}
	if _, _, missed := f.Stat(); missed != 19 {
		t.Errorf("%d missed", missed)
	}
	// The token of the line that tells of what was dropped goes on where that does.
	buf := make([]byte, 60)
	n, _ := r.ReadAt(buf, r.at, false, nil)
	token := strings.Fields(string(buf[:n]))[2]
	again, _, err := f.Since(token)
	if err != nil || !bytes.Equal([]byte(read(t, again, 50)), []byte(big[:50])) {
		t.Errorf("since %s: %v", token, err)
	}
}

func TestTokens(t *testing.T) {
	f := newStream()
	f.put("x")
	for _, bad := range []string{"", "x", ":1", f.id + ":", f.id + ":-1", f.id + ":x"} {
		if _, _, err := f.Since(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, old := range []string{"abc:0", f.id + ":9"} {
		r, whole, err := f.Since(old)
		if err != nil || whole || !r.Ready() {
			t.Fatalf("%q: %v", old, err)
		}
		f.put("next")
		if got := readAll(t, r, 7); !strings.HasPrefix(got, "dropped 0 "+f.id+":") || !strings.HasSuffix(got, "\nnext\n") {
			t.Errorf("since %q: %q", old, got)
		}
	}
	// Nothing was dropped from what is new.
	empty := newStream()
	r, _, err := empty.Since("abc:0")
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := empty.Since(strings.Fields(read(t, r, 100))[2])
	if err != nil || again.Ready() {
		t.Errorf("since the token of the line: %v", err)
	}
}

func TestWaiting(t *testing.T) {
	f := newStream()
	var more int
	f.OnMore(func() { more++ })
	stop := make(chan struct{})
	close(stop)
	if n, err := f.Now().ReadAt(make([]byte, 10), 0, true, stop); n != 0 || !errors.Is(err, ErrInterrupted) {
		t.Errorf("interrupted: %d, %v", n, err)
	}
	const readers = 20
	var wg sync.WaitGroup
	for range readers {
		r := f.Now()
		wg.Go(func() {
			buf := make([]byte, 100)
			var all string
			for {
				n, err := r.ReadAt(buf, uint64(len(all)), true, nil)
				if err != nil {
					t.Error(err)
				}
				if n == 0 {
					break
				}
				all += string(buf[:n])
			}
			if all != "a\nb\n" {
				t.Errorf("read %q", all)
			}
		})
	}
	f.put("a")
	time.Sleep(time.Millisecond)
	f.put("b")
	f.End()
	wg.Wait()
	if more != 3 {
		t.Errorf("told of more %d times", more)
	}
}

func TestLead(t *testing.T) {
	f := newStream()
	f.put("before")
	r := f.Now()
	r.Lead([]byte("a\nb\n"))
	f.put("c")
	if got := readAll(t, r, 3); got != "a\nb\nc\n" {
		t.Errorf("%q", got)
	}
}
