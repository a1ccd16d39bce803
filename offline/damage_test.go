package offline

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAsideDamage changes and cuts off each byte of what was set aside: that is told, nothing else is lost, and it can be dropped.
func TestAsideDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "q")
	q := openQueue(t, dir, Limits{})
	must(t, q.Append(entry(1, Replace, "one"), entry(2, Replace, "two")))
	for n, value := range map[uint64]string{1: "the first value", 2: "the second"} {
		_, err := q.SetAside(Aside{Tenant: []byte("t"), Service: []byte("s"), Name: []byte("v"), Reason: "why", Base: 3}, []byte(value), []uint64{n}, nil)
		must(t, err)
	}
	must(t, q.Close())
	original, err := ReadAside(dir, 1)
	must(t, err)
	check := func(what string) {
		t.Helper()
		list, err := Asides(dir)
		if err != nil || len(list) != 2 || list[1].Path() != "t/s/v" || list[1].Damaged {
			t.Fatalf("%s: %+v, %v", what, list, err)
		}
		value, err := AsideValue(dir, 1)
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s: not told: %q, %v", what, value, err)
		}
		if value, err := AsideValue(dir, 2); err != nil || string(value) != "the second" {
			t.Fatalf("%s: the other: %q, %v", what, value, err)
		}
	}
	for _, suffix := range []string{asideMeta, asideValue} {
		path := asidePath(dir, 1, suffix)
		whole, err := os.ReadFile(path)
		must(t, err)
		for n := range whole {
			b := bytes.Clone(whole)
			b[n] ^= 1
			must(t, os.WriteFile(path, b, 0o600))
			// Not all bytes of a text mean something.
			if a, err := ReadAside(dir, 1); suffix == asideValue || err != nil || !reflect.DeepEqual(a, original) {
				check(suffix + " changed")
			}
			must(t, os.WriteFile(path, whole[:n], 0o600))
			if suffix == asideMeta && n == len(whole)-1 {
				continue // a line end
			}
			check(suffix + " cut off")
		}
		must(t, os.WriteFile(path, whole, 0o600))
		if value, err := AsideValue(dir, 1); err != nil || string(value) != "the first value" {
			t.Fatalf("%q, %v", value, err)
		}
	}
	must(t, os.WriteFile(asidePath(dir, 1, asideMeta), nil, 0o600))
	must(t, os.Remove(asidePath(dir, 1, asideValue)))
	must(t, Drop(dir, 1))
	if list, err := Asides(dir); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestAsideOfOlderVersion: what was set aside without checksums can be read.
func TestAsideOfOlderVersion(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, asideDir), 0o700))
	must(t, os.WriteFile(asidePath(dir, 3, asideMeta), []byte(`{"id":3,"tenant":"dA==","service":"cw==","name":"dg==","size":2}`), 0o600))
	must(t, os.WriteFile(asidePath(dir, 3, asideValue), []byte("ab"), 0o600))
	if b, err := AsideValue(dir, 3); err != nil || string(b) != "ab" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestCutAnywhere cuts a log off at each byte, also inside its headers: opening it never fails, and what cannot be read is kept.
func TestCutAnywhere(t *testing.T) {
	from := filepath.Join(t.TempDir(), "q")
	_, ends := build(t, from)
	whole, err := os.ReadFile(filepath.Join(from, logName))
	must(t, err)
	for n := range int(ends[0]) {
		dir := filepath.Join(t.TempDir(), "q")
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, logName), whole[:n], 0o600))
		if i := inspect(dir); i.Err == nil && i.Entries > 0 {
			t.Fatalf("cut at %d: %+v", n, i)
		}
		q := openQueue(t, dir, Limits{})
		must(t, q.Append(entry(1, Replace, "x")))
		if n > 0 && q.Stats().Damaged == 0 && n < int(ends[0])/2 {
			t.Fatalf("cut at %d: not told", n)
		}
		must(t, q.Close())
	}
}

// TestFsyncFails: after an fsync that failed nobody is told that anything is stored, though the kernel tells the error only once.
func TestFsyncFails(t *testing.T) {
	q := openQueue(t, filepath.Join(t.TempDir(), "q"), Limits{})
	must(t, q.Append(entry(1, Replace, "stored")))
	l := q.file
	good := l.f
	r, w, err := os.Pipe() // has no fsync
	must(t, err)
	defer r.Close()
	defer w.Close()
	q.mu.Lock()
	_, first, err := q.append([]*Entry{entry(1, Append, "first")})
	must(t, err)
	_, second, err := q.append([]*Entry{entry(2, Append, "second")})
	must(t, err)
	l.f = w
	q.mu.Unlock()
	if err := q.sync(first); !errors.Is(err, unix.EINVAL) {
		t.Errorf("fsync of a pipe: %v", err)
	}
	l.f = good // as the kernel does
	if err := q.sync(second); err == nil {
		t.Error("what was written before the failure is taken for stored")
	}
	if err := q.Append(entry(3, Replace, "later")); err != nil && !strings.Contains(err.Error(), "fsync") {
		t.Error(err)
	}
}
