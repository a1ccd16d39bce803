package sync

import "testing"

// What has gone to a service that has come as far as all others, and does not have it, is gone: no more is waited for, and nothing is held up.
func TestGoneWhereItWent(t *testing.T) {
	b := newBench(t)
	b.loadS(serviceU)
	b.c.gather(true)
	b.change(serviceS, 5, leaves(dirD, "d", serviceU)) // U has had it, and is as it was
	b.sess.afterOthers(func() { b.c.gather(false) })
	b.c.wg.Wait()
	b.want("deleted s/d/e/y", "deleted s/d/e", "deleted s/d/x", "deleted s/d")
	b.wantIn(0, "")
}
