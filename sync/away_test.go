package sync

import (
	"testing"
	"time"
)

// TestAwait: who asks for what is on its way to another service waits until it is there, or is not going to be.
func TestAwait(t *testing.T) {
	for name, comes := range map[string]func(b *bench){
		"comes":         func(b *bench) { b.change(serviceU, 2, arrives("n", serviceS, 3)...) },
		"is sent":       func(b *bench) { dirs, vars := content("n", 3); b.list(serviceU, 2, dirs, vars) },
		"does not come": func(b *bench) { b.list(serviceU, 5, nil, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.loadS(serviceU)
			b.c.Await(varX, time.Hour) // it is there
			b.change(serviceS, 2, leaves(dirD, "d", serviceU))
			b.c.Await(dirD+1000, time.Hour) // nobody knows it
			done := make(chan bool)
			go func() {
				b.c.Await(varX, time.Hour)
				done <- b.c.Node(varX) != nil
			}()
			select {
			case <-done:
				t.Fatal("it is nowhere, and was not waited for")
			case <-time.After(50 * time.Millisecond):
			}
			comes(b)
			if found := <-done; found == (name == "does not come") {
				t.Errorf("found %v", found)
			}
			if n := b.c.away.n.Load(); n != 0 {
				t.Errorf("%d are still away", n)
			}
		})
	}
}
