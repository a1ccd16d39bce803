package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/commy-project/commyfs/internal/testenv"
)

// Netns is a network namespace of a test.
type Netns struct {
	t    testing.TB
	Name string
	Addr string
}

// links counts the calls of Link.
var links atomic.Int64

// Link makes two network namespaces with one cable between them. Both are gone at the end of the test.
func Link(t testing.TB) (a, b Netns) {
	t.Helper()
	testenv.Root(t)
	testenv.Need(t, "ip", "nsenter")
	name := fmt.Sprintf("commyfs-%d-%d", os.Getpid(), links.Add(1))
	a = Netns{t, name + "-a", "10.83.0.1"}
	b = Netns{t, name + "-b", "10.83.0.2"}
	for _, n := range []Netns{a, b} {
		ip(t, "netns add "+n.Name)
		t.Cleanup(func() { ip(t, "netns del "+n.Name) })
		ip(t, "-n "+n.Name+" link set lo up")
	}
	ip(t, "-n "+a.Name+" link add cable type veth peer name cable netns "+b.Name)
	for _, n := range []Netns{a, b} {
		ip(t, "-n "+n.Name+" addr add "+n.Addr+"/24 dev cable")
		n.Plug()
	}
	return a, b
}

// Beside makes another namespace with a cable of its own to that of a.
func Beside(t testing.TB, a Netns) Netns {
	t.Helper()
	n := Netns{t, fmt.Sprintf("commyfs-%d-%d-c", os.Getpid(), links.Add(1)), "10.84.0.2"}
	ip(t, "netns add "+n.Name)
	t.Cleanup(func() { ip(t, "netns del "+n.Name) })
	ip(t, "-n "+n.Name+" link set lo up")
	ip(t, "-n "+a.Name+" link add cable2 type veth peer name cable netns "+n.Name)
	ip(t, "-n "+a.Name+" addr add 10.84.0.1/24 dev cable2")
	ip(t, "-n "+a.Name+" link set cable2 up")
	ip(t, "-n "+n.Name+" addr add "+n.Addr+"/24 dev cable")
	n.Plug()
	ip(t, "-n "+n.Name+" route add "+a.Addr+"/32 via 10.84.0.1")
	return n
}

// Plug connects the namespace to its cable.
func (n Netns) Plug() { n.t.Helper(); ip(n.t, "-n "+n.Name+" link set cable up") }

// Unplug takes the cable out: packets are lost, nobody is told.
func (n Netns) Unplug() { n.t.Helper(); ip(n.t, "-n "+n.Name+" link set cable down") }

func ip(t testing.TB, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
}
