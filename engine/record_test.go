package engine

import (
	"errors"
	"testing"
)

// A record cut short anywhere is an error or a shorter value, never a panic.
func TestShortRecords(t *testing.T) {
	key := Key{Name: "k", Tenants: []string{"a", "bc"}, Rights: 3, Created: 1 << 60}
	v := Variable{ID: 1 << 62, Version: 1 << 62, MTime: -1 << 62, Mode: 300, Writer: "writer", Type: 1}
	for _, c := range []struct {
		name   string
		record []byte
		decode func([]byte) error
	}{
		{"tenant", Tenant{ID: 300, MTime: 300, Mode: 300, Prefix: "p"}.encode(), func(b []byte) error { _, err := decodeTenant("", b); return err }},
		{"service", Service{ID: 300, MTime: 300, Mode: 300}.encode(), func(b []byte) error { _, err := decodeService("", "", b); return err }},
		{"dir", Dir{ID: 300, MTime: 300, Mode: 300, Prefix: "/12c/", Least: 300, Home: 300}.encode(), func(b []byte) error { _, err := decodeDir("", b); return err }},
		{"island", Island{ID: 300, Service: 300, Was: []uint64{300, 1}}.encode(), func(b []byte) error { _, err := decodeIsland(1, "d/", b); return err }},
		{"variable", v.encode(), func(b []byte) error { _, err := decodeVariable("", b, &interned{}); return err }},
		{"client", []byte{1, 0xd8, 4}, func(b []byte) error { _, err := decodeClient("", b); return err }},
		{"key", key.encode(), func(b []byte) error { _, err := decodeKey("", b); return err }},
		{"floor", encodeNumber(300), func(b []byte) error { _, err := decodeNumber(b); return err }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.decode(c.record); err != nil {
				t.Fatal(err)
			}
			for n := range c.record {
				if err := c.decode(c.record[:n:n]); !errors.Is(err, ErrCorrupt) {
					t.Errorf("%d of %d bytes: got error %v, want %v", n, len(c.record), err, ErrCorrupt)
				}
			}
			newer := append([]byte{recordFormat + 1}, c.record[1:]...)
			if err := c.decode(newer); !errors.Is(err, ErrSchema) {
				t.Errorf("newer format: got error %v, want %v", err, ErrSchema)
			}
		})
	}
}
