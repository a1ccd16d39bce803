package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/embed"
)

// checkRev opens a store with bare etcd.
func checkRev(t *testing.T, cfg *embed.Config, want int64) {
	t.Helper()
	etcd, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer etcd.Close()
	<-etcd.Server.ReadyNotify()
	if got := etcd.Server.KV().Rev(); got != want {
		t.Errorf("revision %d, want %d: the store was written to", got, want)
	}
}

// sockets returns this process's sockets, as the kernel names them.
func sockets(t *testing.T) map[string]bool {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, fd := range fds {
		link, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if err == nil && strings.HasPrefix(link, "socket:") {
			got[link] = true
		}
	}
	return got
}

// An open store has no socket of any kind, so nobody can reach it but through this package.
func TestNoListener(t *testing.T) {
	before := sockets(t)
	e := open(t, Options{})
	commit(t, e, PutFloor(1, 1))
	for s := range sockets(t) {
		if !before[s] {
			t.Errorf("the engine opened %s", s)
		}
	}
}
