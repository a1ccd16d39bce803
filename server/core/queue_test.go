package core

import (
	"testing"

	"github.com/commy-project/commyfs/model"
)

// What is found in files takes turns with reports, and neither keeps the other waiting for ever.
func TestQueue_Turns(t *testing.T) {
	q := newQueue()
	s := &Session{line: line{at: -1}}
	next := func() string {
		t.Helper()
		items, _ := q.take()
		q.done()
		switch {
		case len(items) == 0:
			return "nothing"
		case items[0].do != nil:
			items[0].do()
			return "found"
		}
		return "reports"
	}
	report := func() {
		t.Helper()
		if !q.push(item{session: s, report: &model.Report{}, size: maxBatchBytes}) {
			t.Fatal("refused")
		}
	}
	var again func()
	again = func() { q.find(again) } // there is always more
	q.find(again)
	for i, want := range []string{"found", "reports", "found", "reports", "found", "found"} {
		if i == 1 {
			for range 2 {
				report()
			}
		}
		if got := next(); got != want {
			t.Errorf("take %d: %s, want %s", i, got, want)
		}
	}
	q.find(func() {})
	if items := q.takeOwn(&s.line); items != nil {
		t.Error("a session commits before what was found")
	}
	if next() != "found" || next() != "nothing" {
		t.Error("it does not end")
	}
}
