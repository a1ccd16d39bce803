package server

import (
	"context"
	"reflect"
	"sync"
	"testing"
	"unsafe"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/commy-project/commyfs/engine"
	"github.com/commy-project/commyfs/transport"
)

// TestReadOfAStoreThatHangs: who reads what is not in memory gets other answers while the store does not read it.
func TestReadOfAStoreThatHangs(t *testing.T) {
	d := newDirs(t)
	s := d.start(t)
	connect(t, s).do(store("v", "value"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = d.start(t)
	p := connect(t, s)
	field := func(of any, name string) unsafe.Pointer {
		return unsafe.Pointer(reflect.ValueOf(of).Elem().FieldByName(name).UnsafeAddr())
	}
	etcd := *(**embed.Etcd)(field(*(**engine.Engine)(field(s.core, "engine")), "etcd"))
	reads := etcd.Server.Backend().ReadTx().(sync.Locker)
	reads.Lock()
	unlock := sync.OnceFunc(reads.Unlock)
	defer unlock()
	read := p.cl.Go(t.Context(), &transport.ReadVariable{Tenant: "t", Service: "s", Name: "v"})
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	for range 3 {
		if _, err := p.cl.Go(ctx, &transport.Ping{}).Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-read.Done():
		t.Error("read while the store reads nothing")
	default:
	}
	unlock()
	m, err := read.Wait(ctx)
	if v, ok := m.(*transport.VariableData); err != nil || !ok || string(v.Variable.Data) != "value" {
		t.Errorf("read %+v, %v", m, err)
	}
}
