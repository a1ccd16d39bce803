package budget

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/commy-project/commyfs/model"
)

func opened(b *Budget, p model.Principal, stalled int64) (a *Account, failed func() error) {
	var mu sync.Mutex
	var err error
	a = b.Open(p, func() int64 { return stalled }, nil, func(e error) {
		mu.Lock()
		err = e
		mu.Unlock()
	})
	return a, func() error {
		mu.Lock()
		defer mu.Unlock()
		return err
	}
}

// TestBudget: who has much waits, who wants little does not, and all is given back.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(96 << 20)
		rich, _ := opened(b, "a", 0)
		other, _ := opened(b, "b", 0)
		poor, _ := opened(b, "c", 0)
		take := func(a *Account, n int) <-chan error {
			done := make(chan error, 1)
			go func() { done <- a.Take(n) }()
			synctest.Wait()
			return done
		}
		has := func(what string, c <-chan error, want bool) {
			t.Helper()
			synctest.Wait()
			select {
			case err := <-c:
				if !want || err != nil {
					t.Errorf("%s: has it, error %v", what, err)
				}
			default:
				if want {
					t.Errorf("%s: waits", what)
				}
			}
		}
		has("the share", take(rich, rich.Limit()), true)
		over := take(rich, 1)
		has("beyond the share", over, false)
		has("of the rest", take(other, 8<<20), true)
		second := take(other, 16<<20)
		has("more than the rest", second, false)
		has("little", take(poor, 1000), true)
		later := take(poor, 1<<20)
		has("not so little, behind one who waits", later, false)
		rich.Give(1 << 20)
		has("within the share again", over, true)
		rich.Give(rich.Limit())
		has("first in line", second, true)
		has("second in line", later, true)
		for _, a := range []*Account{rich, other, poor} {
			a.Close()
			a.Give(1)
			if err := a.Take(1); !errors.Is(err, errEnded) {
				t.Errorf("closed: %v", err)
			}
		}
		if b.used != 0 || len(b.principals)+len(b.accounts)+len(b.waits) != 0 {
			t.Errorf("left: %+v", b)
		}
	})
}

// TestBudgetOfOnePrincipal: many sessions of one key do not use up what is kept for the modest.
func TestBudgetOfOnePrincipal(t *testing.T) {
	b := New(64 << 20)
	n := 0
	for {
		a, _ := opened(b, "many", 0)
		if !a.Try(modest) {
			break
		}
		n++
	}
	if n*modest > 48<<20 {
		t.Errorf("%d sessions of one principal have %d MiB of 64", n, n*modest>>20)
	}
	a, _ := opened(b, "good", 0)
	if !a.Try(modest) {
		t.Error("nothing is left for another one")
	}
}

// TestSlowClientGoes: memory that a slow client holds comes free when another one needs it; one that only the server is
// slow with keeps it.
func TestSlowClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(96 << 20)
		var fails []func() error
		var accounts []*Account
		for i, stalled := range []int64{0, 1, 1} {
			a, failed := opened(b, "a", stalled)
			if !a.Try((30 - 8*i) << 20) {
				t.Fatal("no room")
			}
			accounts, fails = append(accounts, a), append(fails, failed)
		}
		a, _ := opened(b, "b", 0)
		done := make(chan error, 1)
		go func() { done <- a.Take(20 << 20) }()
		time.Sleep(patience / 2)
		synctest.Wait()
		for i, failed := range fails {
			if err := failed(); err != nil {
				t.Errorf("session %d ended at once: %v", i, err)
			}
		}
		time.Sleep(patience)
		synctest.Wait()
		if fails[0]() != nil || !errors.Is(fails[1](), errHog) || fails[2]() != nil {
			t.Errorf("ended: %v, %v, %v", fails[0](), fails[1](), fails[2]())
		}
		accounts[1].Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
