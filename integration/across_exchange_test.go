package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestS13_ExchangeAcrossServices: directories of two services get each other's name in one step, with all that is in them.
func TestS13_ExchangeAcrossServices(t *testing.T) {
	t.Parallel()
	r := newRemote(t)
	near, far := r.server.Mount(), r.client.Mount(r.args()...)
	mounts := []*Mount{near, far}
	furnish("t/s/d", "one", near, far)
	furnish("u/r/e", "two", near, far)
	inodes := []uint64{near.Inode("t/s/d/in/v"), near.Inode("u/r/e/in/v")}
	var dwell [2][]*dweller
	for i, m := range mounts {
		for _, dir := range []string{"t/s/d", "u/r/e"} {
			d := m.dwells(dir)
			defer d.leave()
			dwell[i] = append(dwell[i], d)
		}
	}
	places := []string{"t/s/d", "u/r/e"}
	for i := range 4 {
		by := mounts[i%2]
		var raw []*rawWatch
		for _, m := range mounts {
			raw = append(raw, m.watchRaw(t, "s t/s", "r u/r", "d "+places[0], "e "+places[1]))
		}
		if err := by.exchange("t/s/d", "u/r/e"); err != nil {
			t.Fatal(err)
		}
		places[0], places[1] = places[1], places[0]
		for j, m := range mounts {
			for k, place := range places {
				dwell[j][k].isIn(place)
				if got := m.Inode(place + "/in/v"); got != inodes[k] {
					t.Errorf("%s/in/v on %s has inode %d, want %d", place, m.Dir, got, inodes[k])
				}
			}
		}
		for j := range mounts {
			for k, place := range places {
				value := dwell[j][k].writes()
				dwell[1-j][k].reads(value)
				for _, m := range mounts {
					m.WaitValue(place+"/in/v", value)
				}
			}
		}
		near.Write("t/s/marker", fmt.Sprint(i))
		for _, w := range raw {
			w.has(0, "s MODIFY marker")
			var got []string
			for _, e := range w.all() {
				if e.file != "marker" && e.mask != "CREATE" && e.mask != "MODIFY" && e.mask != "CLOSE_WRITE" && !strings.HasPrefix(e.file, "touched") {
					got = append(got, e.String())
				}
			}
			slices.Sort(got)
			want := []string{"d MOVE_SELF", "e MOVE_SELF", "r MOVED_FROM e", "r MOVED_TO e", "s MOVED_FROM d", "s MOVED_TO d"}
			if !slices.Equal(got, want) {
				t.Errorf("round %d, events on %s: %q", i, w.m.Dir, got)
			}
			w.close()
		}
		if err := os.Remove(near.Path("t/s/marker")); err != nil {
			t.Fatal(err)
		}
		far.WaitGone("t/s/marker")
	}
	t.Run("a directory and a variable", func(t *testing.T) {
		near.Write("u/r/file", "a file")
		far.WaitValue("u/r/file", "a file")
		w := far.watchRaw(t, "s t/s", "r u/r", "file u/r/file", "d t/s/d")
		if err := near.exchange("t/s/d", "u/r/file"); err != nil {
			t.Fatal(err)
		}
		far.WaitValue("t/s/d", "a file")
		far.WaitFor("u/r/file/in/v")
		near.Write("t/s/d", "changed")
		w.has(0, "file MODIFY")
		for _, want := range []string{"file MOVE_SELF", "d MOVE_SELF", "s MOVED_TO d", "r MOVED_TO file"} {
			w.has(0, want)
		}
		dwell[1][0].isIn("u/r/file")
	})
}
