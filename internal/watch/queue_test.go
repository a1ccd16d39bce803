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
