package sync

import (
	"testing"

	"github.com/commy-project/commyfs/model"
)

// A service that goes while it is sent again is not waited for any more.
func TestServiceGoneWhileItIsSentAgain(t *testing.T) {
	b := newBench(t)
	b.loadS(serviceU)
	_, vars := content("d", 3)
	b.sess.Replaced(&model.Snapshot{Service: serviceS, Rev: 2, Vars: vars, More: true})
	b.sess.TreeChanged(&model.TreeChanges{Changes: []model.TreeChange{{Gone: true, Service: model.Service{ID: serviceS}}}})
	b.sess.Replaced(&model.Snapshot{Service: serviceS, Rev: 2, Vars: vars})
	if n := b.sess.replacing.Load(); n != 0 || len(b.sess.resyncs) != 0 {
		t.Errorf("%d are being sent again, %d are kept", n, len(b.sess.resyncs))
	}
}
