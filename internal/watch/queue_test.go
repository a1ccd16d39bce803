package watch

import (
	"fmt"
	"strings"
	"testing"

	varsync "github.com/commy-project/commyfs/sync"
)

func TestNoticesAreMergedOnlyWhenTheyPileUp(t *testing.T) {
	q := newQueue()
	add := func(kind varsync.NoticeKind, id uint64, value string) {
		q.add(pending{Notice: varsync.Notice{Kind: kind, ID: id}, value: []byte(value)})
	}
	modify := func(id uint64, value string) { add(varsync.Modified, id, value) }
	for i := range 5 {
		modify(1, fmt.Sprint(i))
	}
	if got := len(q.take()); got != 5 {
		t.Fatalf("%d notices of 5", got)
	}
	for i := range manyChanges + 1 {
		modify(uint64(i+10), "x")
	}
	modify(10, "last of 10")
	add(varsync.Deleted, 11, "")
	modify(11, "of another life")
	list := q.take()
	if len(list) != manyChanges+3 {
		t.Errorf("%d notices, want %d", len(list), manyChanges+3)
	}
	if got := string(list[0].value); got != "last of 10" {
		t.Errorf("the merged notice has the value %q", got)
	}
	if got := list[manyChanges+1].Kind; got != varsync.Deleted {
		t.Errorf("a deletion became %v", got)
	}
	modify(1, strings.Repeat("x", manyBytes))
	modify(1, strings.Repeat("y", manyBytes))
	modify(1, "z")
	if list := q.take(); len(list) != 2 || string(list[1].value) != "z" || q.bytes != 0 {
		t.Errorf("%d large notices, the last of %d bytes, %d bytes left", len(list), len(list[len(list)-1].value), q.bytes)
	}
}

func TestMergedNoticeKeepsTheFirstToken(t *testing.T) {
	q := newQueue()
	for i := range manyChanges + 2 {
		id := uint64(i + 1)
		if i == manyChanges+1 {
			id = 1
		}
		q.add(pending{Notice: varsync.Notice{Kind: varsync.Modified, ID: id}, token: Token{"store", int64(i + 1)}})
	}
	var last int64
	for _, p := range q.take() {
		if p.token.Rev < last {
			t.Fatalf("token %d after %d: a watch that resumes from the former skips changes", p.token.Rev, last)
		}
		last = p.token.Rev
	}
}

// What has moved to another service is told once, also if the contents of one of the two were reported before or after it.
func TestMovedToAnotherService(t *testing.T) {
	const from, to = 1, 2
	moved := varsync.Notice{Kind: varsync.Renamed, Dir: true, ID: 7, Path: []string{"t", "to", "n"}, OldPath: []string{"t", "from", "o"},
		Service: to, Rev: 10, Told: 10, OldService: from, OldRev: 8, OldTold: 6}
	renamed := "move t/from/o > t/to/n"
	for name, tt := range map[string]struct {
		paths []string
		told  map[uint64]int64
		state map[uint64]loadState
		want  string
		token int64
	}{
		"both":               {[]string{"t/from", "t/to"}, map[uint64]int64{from: 5, to: 5}, nil, renamed, 10},
		"from":               {[]string{"t/from"}, map[uint64]int64{from: 5}, nil, renamed, 6},
		"to":                 {[]string{"t/to"}, map[uint64]int64{to: 5}, nil, renamed, 10},
		"from, after it":     {[]string{"t/from"}, map[uint64]int64{from: 8}, nil, "", 0},
		"to, after it":       {[]string{"t/to"}, map[uint64]int64{to: 10}, nil, "", 0},
		"both, to after it":  {[]string{"t/from", "t/to"}, map[uint64]int64{from: 5, to: 10}, nil, "delete t/from/o", 6},
		"both, to is loaded": {[]string{"t/from", "t/to"}, map[uint64]int64{from: 5}, map[uint64]loadState{to: loadUnderWay}, "delete t/from/o", 6},
		"elsewhere in to":    {[]string{"t/from", "t/to/m"}, map[uint64]int64{from: 5, to: 10}, nil, renamed, 6},
		"below":              {[]string{"t/from/o/x"}, map[uint64]int64{from: 5}, nil, renamed, 6},
		"neither":            {[]string{"t/other"}, map[uint64]int64{}, nil, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := New(Options{})
			a := Asked{}
			for _, p := range tt.paths {
				a.Paths = append(a.Paths, strings.Split(p, "/"))
			}
			w := newWatcher(h, a)
			w.told = tt.told
			for id := range tt.told {
				w.state[id] = loadDone
			}
			for id, s := range tt.state {
				w.state[id] = s
			}
			var got *Event
			w.yield = func(ev *Event) bool { got = ev; return true }
			n := moved
			if w.wants(kinds[n.Kind], n.Dir, n.Path, n.OldPath) {
				p := &pending{Notice: n, token: Token{"store", n.Told}, oldToken: Token{"store", n.OldTold}}
				if err := w.take(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
			text, token := "", int64(0)
			if got != nil {
				text, token = "move "+strings.Join(got.Old, "/")+" > "+strings.Join(got.Path(), "/"), got.Token.Rev
				if got.Kind == Deleted {
					text = "delete " + strings.Join(got.Path(), "/")
				}
			}
			if text != tt.want || token != tt.token {
				t.Errorf("told %q with token %d, want %q with %d", text, token, tt.want, tt.token)
			}
		})
	}
}
