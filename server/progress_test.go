package server

import (
	"testing"

	"github.com/commy-project/commyfs/transport"
)

// Who waits for a service is told when there is progress, and only then.
func TestProgress(t *testing.T) {
	c := &session{out: newOutbox()}
	p := &progress{request: request{session: c}, service: 7}
	for _, step := range []struct {
		steps uint64
		told  int
	}{{0, 0}, {1, 1}, {1, 0}, {5, 1}, {5, 0}} {
		p.tell(step.steps)
		list, _, _ := c.out.take()
		if len(list) != step.told {
			t.Fatalf("after %d steps: %d messages, want %d", step.steps, len(list), step.told)
		}
		for _, r := range list {
			m, ok := r.message.(*transport.Snapshot)
			if !ok || m.Service != 7 || !m.More || m.Resumed || r.id != 0 || !r.part {
				t.Errorf("told %+v", r)
			}
		}
	}
}
