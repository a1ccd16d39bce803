package engine

import (
	"errors"
	"reflect"
	"testing"
)

// TestIslands: they come back as they were put, in the order of their homes and prefixes, whatever bytes these have, and no others.
func TestIslands(t *testing.T) {
	e := open(t, Options{})
	islands := []Island{
		{Home: 1, Prefix: "d/", ID: 3, Service: 2},
		{Home: 1, Prefix: "d/e/", ID: 4, Service: 1, Was: []uint64{2, 300}},
		{Home: 2, Prefix: DirPrefix(5), ID: 5, Service: 300, Was: []uint64{2}},
		{Home: 1 << 62, Prefix: "\x00\xff/", ID: 6, Service: 1},
	}
	ops := []Op{PutIsland(Island{Home: 1, Prefix: "gone/"}), PutDir(1, Dir{ID: 3, Name: "d"})}
	for _, i := range islands {
		ops = append(ops, PutIsland(i))
	}
	commit(t, e, ops...)
	commit(t, e, DeleteIsland(1, "gone/"))
	got, err := e.LoadIslands(t.Context(), nil)
	if err != nil || !reflect.DeepEqual(got, islands) {
		t.Errorf("got %+v (%v), want %+v", got, err, islands)
	}

	// What cannot be read is left out, and told.
	for key, value := range map[string]string{islandKey(1, "damaged/"): "\x05", prefixIsland + "1/x/": "\x05\x01\x01\x00", islandKey(1, ""): "\x05\x01\x01\x00"} {
		commit(t, e, Op{key: key, value: []byte(value)})
	}
	if _, err := e.LoadIslands(t.Context(), nil); !errors.Is(err, ErrCorrupt) {
		t.Errorf("damaged records: %v", err)
	}
	told := map[string]int{}
	got, err = e.LoadIslands(t.Context(), func(d Damaged) { told[d.Prefix]++ })
	if err != nil || !reflect.DeepEqual(got, islands) || told[""] != 2 || told["damaged/"] != 1 {
		t.Errorf("got %+v (%v) and %v", got, err, told)
	}
}
