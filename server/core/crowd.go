package core

import (
	"slices"
	"time"

	"github.com/commy-project/commyfs/model"
)

// crowd is a report with Each: several reports of one client that travel together, with one answer. The committer takes them
// apart and treats them like any others; they may be carried out in several batches.
type crowd struct {
	told
	left  int           // those that are not answered
	spent time.Duration // of the committer's time
}

// reports is how many reports the item stands for.
func (it *item) reports() int {
	if it.isCrowd() {
		return len(it.report.Changes)
	}
	return 1
}

// apart puts each report into an item of its own.
func apart(items []item) []item {
	if !slices.ContainsFunc(items, func(it item) bool { return it.isCrowd() }) {
		return items
	}
	var out []item
	for i := range items {
		if it := &items[i]; it.isCrowd() {
			out = it.apart(out)
		} else {
			out = append(out, *it)
		}
	}
	return out
}

func (it *item) isCrowd() bool {
	return it.report != nil && it.report.Each && it.crowd == nil && len(it.report.Changes) > 0
}

func (it *item) apart(out []item) []item {
	r := it.report
	n := len(r.Changes)
	c := &crowd{left: n, told: told{Ticket: it.Ticket, reports: n}}
	c.outcome = &model.Outcome{Seq: r.Seq, Results: make([]model.Result, n)}
	parts := make([]model.Report, n)
	for i := range parts {
		parts[i] = model.Report{Seq: r.Seq + uint64(i), Acked: r.Acked, Age: r.Age, Changes: r.Changes[i : i+1 : i+1], Each: true}
		out = append(out, item{Ticket: it.Ticket, session: it.session, report: &parts[i], size: it.size / n, packing: it.packing, crowd: c, place: i})
	}
	return out
}

// add takes what became of one of the reports. It returns the answer to all when there is one.
func (c *crowd) add(index int, t told) (told, bool) {
	m := c.outcome
	m.Rev = max(m.Rev, t.outcome.Rev)
	if t.outcome.Code != model.CodeOK {
		m.Refused = append(m.Refused, model.Refusal{Index: index, Code: t.outcome.Code, Message: t.outcome.Message})
	} else {
		copy(m.Results[index:index+1], t.outcome.Results)
	}
	for _, svc := range t.services {
		if n := len(c.services); n == 0 || c.services[n-1] != svc {
			c.services = append(c.services, svc)
		}
	}
	c.tree = c.tree || t.tree
	c.questions = append(c.questions, t.questions...)
	c.left--
	return c.told, c.left == 0
}

// spent says how long a report has taken.
func (s *Core) spent(it *item, d time.Duration) {
	all := d
	if c := it.crowd; c != nil {
		c.spent += d
		all = c.spent
	}
	s.queue.spend(it.session, d, all)
}
