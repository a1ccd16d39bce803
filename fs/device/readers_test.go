package device

import (
	"sync"
	"testing"
	"time"
)

// Somebody always reads, also while many handlers end at a time, and all others wait for something.
func TestSomebodyReads(t *testing.T) {
	for round := range 4000 {
		r := readers{most: 2}
		requests := make(chan chan struct{}) // with what their handlers wait for
		var all sync.WaitGroup
		var loop func()
		loop = func() {
			defer all.Done()
			for r.join() {
				wait, ok := <-requests
				if last := r.leave(); !ok {
					return
				} else if last {
					all.Add(1)
					go loop()
				}
				<-wait
			}
		}
		all.Add(1)
		go loop()
		soon, end := make(chan struct{}), make(chan struct{})
		for i := range 30 {
			wait := soon
			if i >= 20 {
				wait = end
			}
			if i == 20 {
				close(soon)
			}
			select {
			case requests <- wait:
			case <-time.After(10 * time.Second):
				t.Fatalf("round %d: nobody reads request %d", round, i)
			}
		}
		close(end)
		close(requests)
		all.Wait()
	}
}
