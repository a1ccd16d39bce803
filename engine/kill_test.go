package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// childEnv makes this test binary the child that is killed. Its value is the store's directory.
	childEnv = "COMMYFS_ENGINE_TEST_CHILD"
	largeEnv = "COMMYFS_ENGINE_TEST_LARGE" // it writes large values too
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		compactionStep = slowStep
		fmt.Println("end:", child(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child commits until it is killed and tells what was acknowledged, and each id that it was given.
func child(dir string) error {
	ctx := context.Background()
	e, err := Open(ctx, Options{Dir: dir})
	if err != nil {
		return err
	}
	fmt.Println("compacted", e.finishedCompaction())
	fmt.Println("open", e.StoreID())
	var was Stored
	_, _, err = e.LoadService(ctx, 3, pageFunc(func(p Page) error {
		for _, v := range p.Variables {
			was.Data = v.Data
		}
		return nil
	}))
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		id, err := e.NextID(ctx)
		if err != nil {
			return err
		}
		fmt.Println("id", id)
		// Two keys: a batch is kept whole or not at all. One of them holds only the last, the other each.
		v := Variable{ID: id, Name: fmt.Sprint(id), Version: uint64(i), Data: []byte(strings.Repeat("x", i%5000))}
		last := v
		last.Name = "last"
		ops := []Op{PutVariable(1, v), PutVariable(1, last)}
		if os.Getenv(largeEnv) != "" {
			// And a value in pieces, of which each batch changes some: they are all of one version.
			large := Variable{ID: 1, Name: "large", Version: id, Data: striped(id, i)}
			ops = AppendVariable(ops, 3, large, was)
			was.Data = large.Data
		}
		if _, err := e.Commit(ctx, ops); err != nil {
			return err
		}
		fmt.Println("ack", id)
	}
}

// striped is a large value that says in many places, but not in every piece, whose it is.
func striped(id uint64, i int) []byte {
	b := make([]byte, MaxWhole+i%7*PieceSize+1)
	for at := 0; at+8 <= len(b); at += PieceSize * 3 / 2 {
		binary.BigEndian.PutUint64(b[at:], id)
	}
	return b
}

// kill -9 at any moment loses nothing that was acknowledged, keeps no half of a batch, and gives no id again.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	ids, acked := map[string]bool{}, map[string]bool{}
	store := ""
	for round, acks := range []int{1, 37, 250} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir, largeEnv+"=1")
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for sc := bufio.NewScanner(out); sc.Scan(); {
			what, arg, _ := strings.Cut(sc.Text(), " ")
			switch what {
			case "open":
				if store != "" && arg != store {
					t.Errorf("round %d: store %s, before %s", round, arg, store)
				}
				store = arg
			case "id":
				if ids[arg] {
					t.Errorf("round %d: id %s was given before", round, arg)
				}
				ids[arg] = true
			case "ack":
				acked[arg] = true
				if n++; n == acks {
					_ = cmd.Process.Kill() // what it has said until it is dead still counts
				}
			case "compacted":
			default:
				t.Fatalf("round %d: child says %q", round, sc.Text())
			}
		}
		_ = cmd.Wait()
		if n < acks {
			t.Fatalf("round %d: the child ended after %d batches, want %d", round, n, acks)
		}
	}

	start := time.Now()
	e := open(t, Options{Dir: dir})
	t.Logf("open after kill -9: %v; %d batches acknowledged, %d tried", time.Since(start), len(acked), len(ids))
	if e.StoreID() != store {
		t.Errorf("store %s, before %s", e.StoreID(), store)
	}
	held := map[string]uint64{}
	var lastID, newest uint64
	for _, v := range load(t, e, 1).vars {
		if len(v.Data) != int(v.Version)%5000 {
			t.Errorf("variable %s: %d bytes at version %d", v.Name, len(v.Data), v.Version)
		}
		if v.Name == "last" {
			lastID = v.ID
			continue
		}
		held[v.Name] = v.ID
		newest = max(newest, v.ID)
		if !ids[v.Name] {
			t.Errorf("variable %s was never written", v.Name)
		}
	}
	for id := range acked {
		if held[id] == 0 {
			t.Errorf("variable %s was acknowledged and is lost", id)
		}
	}
	if lastID != newest {
		t.Errorf("half a batch: last is %d, the newest is %d", lastID, newest)
	}
	large := load(t, e, 3).vars
	if len(large) != 1 || large[0].Version != newest {
		t.Fatalf("half a batch: %d large values, want one of %d", len(large), newest)
	}
	data := large[0].Data
	if want := striped(newest, (len(data)-MaxWhole-1)/PieceSize); !bytes.Equal(data, want) {
		t.Errorf("the large value of %d bytes is not that of %d", len(data), newest)
	}
	id, err := e.NextID(t.Context())
	if err != nil || ids[fmt.Sprint(id)] {
		t.Errorf("next id %d, %v: given before", id, err)
	}
}

// A server that is killed again and again under load, with its upkeep half done, is soon there each time.
func TestOpenAfterKills(t *testing.T) {
	const (
		rounds  = 5
		batches = 40
		limit   = batches * 1000 / slowStep * compactionPause * 3 / 4 // less than the upkeep pauses
	)
	slowCompaction(t)
	dir := t.TempDir()
	e := open(t, Options{Dir: dir})
	ops := make([]Op, 1000)
	for range batches {
		for i := range ops {
			ops[i] = PutVariable(2, Variable{Name: name(i)})
		}
		commit(t, e, ops...)
	}
	rev := e.Rev()
	e.maint.bytes.Store(compactBytes + 1)
	commit(t, e, PutFloor(2, 1)) // this starts the upkeep, here and in whoever opens it next
	e.Close()
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var took time.Duration
		acks, compacted := 0, int64(0)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			switch what, arg, _ := strings.Cut(sc.Text(), " "); what {
			case "compacted":
				if compacted, err = strconv.ParseInt(arg, 10, 64); err != nil {
					t.Fatal(err)
				}
			case "open":
				took = time.Since(start)
			case "ack":
				if acks++; acks == 100 {
					_ = cmd.Process.Kill()
				}
			case "end:":
				t.Fatalf("round %d: child says %q", round, sc.Text())
			}
		}
		_ = cmd.Wait()
		t.Logf("round %d: open after %v, compacted to %d of %d", round, took, compacted, rev)
		if took == 0 || took > limit && compacted >= rev { // a busy machine may take longer, but not because of the upkeep
			t.Errorf("round %d: open after %v, want at most %v", round, took, limit)
		}
	}
	e = open(t, Options{Dir: dir})
	if first := e.etcd.Server.KV().FirstRev(); first < rev {
		t.Errorf("compacted to %d, want at least %d: nothing is tested", first, rev)
	}
	if got := len(load(t, e, 2).vars); got != len(ops) {
		t.Errorf("%d variables, want %d", got, len(ops))
	}
}
