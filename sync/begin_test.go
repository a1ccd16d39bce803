package sync

import (
	"context"
	"testing"

	"github.com/commy-project/commyfs/model"
)

// slowly is a connection over which the services take longer to come than connecting may.
type slowly struct {
	stub
	over context.CancelFunc
}

func (s slowly) Hello(context.Context, *model.Client, model.Watcher) (*model.Welcome, error) {
	return &model.Welcome{}, nil
}

func (s slowly) WatchTree(_ context.Context, page func(*model.TreePage) error) error {
	return page(&model.TreePage{Tenants: []model.Tenant{{ID: tenantT, Name: "t"}}, Services: []model.Service{{ID: serviceS, Tenant: tenantT, Name: "s"},
		{ID: serviceU, Tenant: tenantT, Name: "u"}, {ID: serviceV, Tenant: tenantT, Name: "v"}}})
}

func (s slowly) Watch(ctx context.Context, w *model.Watch, page func(*model.Snapshot) error) error {
	s.over()
	return s.stub.Watch(ctx, w, page)
}

func (s slowly) Ping(ctx context.Context) error { return ctx.Err() }

// Services that are brought up to date take as long as they take: the connection is as good then.
func TestBroughtUpToDateForLong(t *testing.T) {
	b := newBench(t)
	b.loadS(serviceU)
	b.lists[serviceS] = &model.Snapshot{Service: serviceS, Rev: 2}
	b.lists[serviceU] = &model.Snapshot{Service: serviceU, Rev: 2}
	ctx, cancel := context.WithCancel(t.Context())
	sess := &session{c: b.c, conn: slowly{stub{b: b}, cancel}, resyncs: map[uint64]*snapshot{}, asks: ids{}}
	if err := sess.begin(ctx); err != nil {
		t.Error(err)
	}
	b.want("deleted s/d/e/y", "deleted s/d/e", "deleted s/d/x", "deleted s/d")
}
