package memfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/commy-project/commyfs/memfile"
)

// FuzzReader overwrites parts of a good file: whatever is read then is an error or within the limits, and nothing crashes.
// A patch is its offset (4 bytes), its length (1 byte) and its bytes; the rest is the next patch.
func FuzzReader(f *testing.F) {
	path := filepath.Join(f.TempDir(), "m")
	w := create(f, path, small, memfile.Initial{ID: 1, Version: 1, Name: "a", Value: []byte("value")})
	put(f, w, w.Alloc(), 2, 2, "name", "another value, longer than sixty-four bytes, so that it has two units for itself")
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	patch := func(off uint32, b ...byte) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, off), append([]byte{byte(len(b))}, b...)...)
	}
	ff := bytes.Repeat([]byte{0xff}, 8)
	f.Add([]byte{})
	f.Add(patch(68, 0xff, 0xff, 0xff, 0x03))
	f.Add(append(patch(132, 0xff, 0xff), patch(68, 0xff, 0xff)...))
	for _, word := range []uint32{0, 8, 16, 24, 32, 40, 48, 56} {
		f.Add(patch(4096+word, ff...))
		f.Add(patch(4096+word, 1, 0, 0, 1))
	}
	for off := uint32(0); off < 136; off += 8 {
		f.Add(patch(off, ff...))
	}
	f.Fuzz(func(t *testing.T, patches []byte) {
		bad := bytes.Clone(good)
		for len(patches) > 5 {
			off, n := binary.LittleEndian.Uint32(patches), int(patches[4])
			patches = patches[5:]
			n = min(n, len(patches))
			copy(bad[int(off)%len(bad):], patches[:n])
			patches = patches[n:]
		}
		for slot := range 16 {
			bad[4096+64*slot] &^= 1 // odd is a wait at every read, and has a test of its own
		}
		path := filepath.Join(t.TempDir(), "m")
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := memfile.Open(path)
		if err != nil {
			if !errors.Is(err, memfile.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		defer r.Close()
		for slot := range uint32(4) {
			for id := range uint64(4) {
				m, data, err := r.Read(slot, id, nil)
				if err == nil && (m.Size != len(data) || len(data) > memfile.MaxValue || len(data) > len(bad)) {
					t.Fatalf("%+v, %d bytes", m, len(data))
				}
				if _, err2 := r.Stat(slot, id); (err == nil) != (err2 == nil) {
					t.Fatalf("Read: %v, Stat: %v", err, err2)
				}
			}
		}
		if slot, id, _, err := r.Lookup("name"); err == nil && bytes.Equal(bad, good) && (slot != 1 || id != 2) {
			t.Fatalf("Lookup = %d, %d", slot, id)
		}
	})
}
