package sync_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/commy-project/commyfs/model"
	varsync "github.com/commy-project/commyfs/sync"
	"github.com/commy-project/commyfs/transport"
	"github.com/commy-project/commyfs/transport/transporttest"
)

// fake is a server that does what a test wants: it has a tenant t with a service s with a variable v, and leaves all else
// to its handler.
type fake struct {
	t       *testing.T
	handle  func(send func(id uint64, m transport.Message), id uint64, m transport.Message)
	options transporttest.Options
	value   string // of v
	lease   time.Duration
	// watch answers what asks for the service in the place of the fake, unless it is nil or says no
	watch func(send func(id uint64, m transport.Message), id uint64) bool

	mu    sync.Mutex // guards the following
	dials int
	conn  *transport.Conn // the last
}

const (
	fakeTenant   = 100
	fakeService  = 101
	fakeVariable = 102
)

func (f *fake) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

func (f *fake) dial(context.Context) (varsync.Conn, error) {
	client, server := transporttest.PipeWith(f.t, f.options)
	f.mu.Lock()
	f.dials++
	f.conn = server
	f.mu.Unlock()
	go f.serve(server)
	return transport.NewClient(client, transport.ClientOptions{}), nil
}

// push tells the client something that it has not asked for.
func (f *fake) push(m transport.Message) {
	f.mu.Lock()
	conn := f.conn
	f.mu.Unlock()
	if err := conn.Send(transport.Envelope{Message: m}); err != nil {
		f.t.Error(err)
	}
}

func (f *fake) serve(conn *transport.Conn) {
	send := func(id uint64, m transport.Message) { _ = conn.Send(transport.Envelope{ID: id, Message: m}) }
	for {
		envs, err := conn.Receive()
		if err != nil {
			return
		}
		for _, e := range envs {
			switch m := e.Message.(type) {
			case *transport.Hello:
				send(e.ID, &transport.Welcome{Store: "store", Limits: model.Limits{Value: 1 << 20}, Lease: int64(f.lease)})
			case *transport.WatchTree:
				send(e.ID, &transport.Tree{Tenants: []model.Tenant{{ID: fakeTenant, Name: "t", Rights: 31}},
					Services: []model.Service{{ID: fakeService, Tenant: fakeTenant, Name: "s"}}})
			case *transport.Watch:
				if f.watch != nil && f.watch(send, e.ID) {
					continue
				}
				send(e.ID, &transport.Snapshot{Service: fakeService, Rev: 1, Vars: []model.Variable{
					{ID: fakeVariable, Name: "v", Version: 1, Size: int64(len(f.value)), Data: []byte(f.value)}}})
			case *transport.Goodbye:
				send(e.ID, &transport.Done{})
			default:
				f.handle(send, e.ID, m)
			}
		}
	}
}

func (f *fake) client(change ...func(*varsync.Options)) *varsync.Client {
	f.t.Helper()
	o := varsync.Options{Dial: f.dial}
	for _, fn := range change {
		fn(&o)
	}
	c, err := varsync.New(f.t.Context(), o)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c
}

// accept answers a report as a server that has carried it out.
func accept(r *transport.ReportVariableChanges) *transport.VariableChangesAcknowledged {
	ack := &transport.VariableChangesAcknowledged{Seq: r.Seq}
	for range r.Changes {
		ack.Results = append(ack.Results, model.Result{ID: fakeVariable, Version: 2})
	}
	return ack
}
