package server

import (
	"time"

	"github.com/commy-project/commyfs/transport"
)

// progressEvery is how often who waits for a service to be loaded hears that it goes on. It is less than the timeout of any
// client that wants to get anywhere.
const progressEvery = 500 * time.Millisecond

// progress tells a client that a service is being loaded for it: by pages of its state, with nothing in them, that were not
// asked for. A client that has not got the service yet makes nothing else of them.
type progress struct {
	request
	service uint64
	last    uint64
}

// tell does so if there was any since the last time. steps is how many there were.
func (p *progress) tell(steps uint64) {
	if steps != p.last {
		p.last = steps
		p.out.reply(reply{message: &transport.Snapshot{Service: p.service, More: true}, part: true})
	}
}

// telling calls fn, which waits for services, and tells of progress meanwhile.
func (r request) telling(fn func(), services ...uint64) {
	var list []*progress
	for _, id := range services {
		list = append(list, &progress{r, id, r.Steps(id)})
	}
	done := make(chan struct{})
	defer close(done)
	var timer *time.Timer
	armed := make(chan struct{})
	timer = time.AfterFunc(progressEvery, func() {
		<-armed
		select {
		case <-done:
		default:
			for _, p := range list {
				p.tell(r.Steps(p.service))
			}
			timer.Reset(progressEvery)
		}
	})
	close(armed)
	defer timer.Stop()
	fn()
}
