package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What is put is found again, by this engine and by the next one on the directory.
func TestReopenKeepsEverything(t *testing.T) {
	noLeaks(t)
	dir := filepath.Join(t.TempDir(), "a", "b")
	tenants := []Tenant{{1024, "plant", "/5/", 5, 0}, {1025, "t\x00\x01\xff", "", -6, 33000}}
	services := []Service{{1026, "/5/", "line1", 7, 0}, {1027, "t\x00\x01\xff", "s\x00/\xfe", 8, 32768}}
	dirs := []Dir{{1028, "a", "", 0, 0, 9, 0}, {1029, "a/b\x00", "/a\x00/", 1 << 62, 1 << 60, 10, 32900}}
	vars := []Variable{
		{1030, "a/b\x00/\xff", 1<<63 - 1, 1<<63 - 1, 33000, "root@host", 200, []byte("value\x00\xff")},
		{ID: 1031, Name: "empty", Version: 1, Data: []byte{}},
	}
	results := []Result{{"\x00\x01client", 0, []byte("seq")}, {"\x00\x01client", 1 << 40, []byte{}}}
	keys := []Key{{"k\x00", [32]byte{1, 2, 31: 3}, []string{"plant", "x*"}, 7, 12}, {Name: "none", Rights: 1<<32 - 1}}

	e := open(t, Options{Dir: dir})
	rev := commit(t, e,
		PutTenant(tenants[0]), PutTenant(tenants[1]), PutService(services[0]), PutService(services[1]),
		PutFloor(1026, 41), PutDir(1026, dirs[0]), PutDir(1026, dirs[1]), PutVariable(1026, vars[0]), PutVariable(1026, vars[1]),
		PutVariable(1027, Variable{ID: 1032, Name: "other service"}),
		PutResult(results[0]), PutResult(results[1]), PutKey(keys[0]), PutKey(keys[1]),
	)
	store := e.StoreID()
	if len(store) != 32 {
		t.Errorf("store id %q, want 32 digits", store)
	}
	check := func(e *Engine) {
		t.Helper()
		gotTenants, gotServices, gotRev, err := e.LoadTree(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		gotResults, err := e.LoadResults(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		gotKeys, err := e.LoadKeys(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		s := load(t, e, 1026)
		for _, c := range []struct {
			what      string
			got, want any
		}{
			{"tenants", gotTenants, tenants}, {"services", gotServices, services}, {"dirs", s.dirs, dirs},
			{"variables", s.vars, vars}, {"floor", s.floor, uint64(41)}, {"results", gotResults, results}, {"keys", gotKeys, keys},
		} {
			if !reflect.DeepEqual(c.got, c.want) {
				t.Errorf("%s: got %+v, want %+v", c.what, c.got, c.want)
			}
		}
		if gotRev < rev || s.rev < rev || e.Rev() < rev {
			t.Errorf("revisions %d, %d, %d, want at least the commit's, %d", gotRev, s.rev, e.Rev(), rev)
		}
	}
	check(e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open(t, Options{Dir: dir})
	check(e)
	if e.StoreID() != store {
		t.Errorf("store id is %s after reopening, want %s", e.StoreID(), store)
	}

	commit(t, e, DeleteTenant(tenants[1].Name), DeleteService(services[1].Tenant, services[1].Name), DeleteFloor(1026),
		DeleteDir(1026, dirs[1].Name), DeleteVariable(1026, vars[0].Name), DeleteResult(results[0].Client, 0), DeleteKey(keys[0].Name))
	tenants, services, dirs, vars, results, keys = tenants[:1], services[:1], dirs[:1], vars[1:], results[1:], keys[1:]
	if s := load(t, e, 1026); s.floor != 0 {
		t.Errorf("floor is %d after deleting it, want 0", s.floor)
	}
	commit(t, e, PutFloor(1026, 41))
	check(e)
}

// Names that could be taken for one another have keys of their own.
func TestServiceNamesDoNotCollide(t *testing.T) {
	e := open(t, Options{})
	var ops []Op
	want := map[[2]string]uint64{}
	for i, n := range [][2]string{{"a", "\x00b"}, {"a\x00", "b"}, {"a\x01", "b"}, {"a", "b"}, {"a\x01\x01", "b"}, {"a\x01\x02", "b"}, {"", "a\x00b"}} {
		want[n] = uint64(i + 1)
		ops = append(ops, PutService(Service{ID: uint64(i + 1), Tenant: n[0], Name: n[1]}))
	}
	commit(t, e, ops...)
	_, services, _, err := e.LoadTree(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[[2]string]uint64{}
	for _, s := range services {
		got[[2]string{s.Tenant, s.Name}] = s.ID
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRefusedBatches(t *testing.T) {
	e := open(t, Options{})
	many := make([]Op, MaxOps+1)
	for i := range many {
		many[i] = DeleteVariable(1, name(i))
	}
	half := bytes.Repeat([]byte{1}, MaxBatch/2)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		ops  []Op
		want error
	}{
		{"duplicate", t.Context(), []Op{PutFloor(1, 1), DeleteFloor(1)}, ErrDuplicate},
		{"value", t.Context(), []Op{PutVariable(1, Variable{Name: "v", Data: make([]byte, MaxValue+1)})}, ErrTooLarge},
		{"bytes", t.Context(), []Op{PutVariable(1, Variable{Name: "v", Data: half}), PutVariable(1, Variable{Name: "w", Data: half})}, ErrTooLarge},
		{"operations", t.Context(), many, ErrTooLarge},
		{"context", ended, []Op{PutFloor(1, 1)}, ErrUnavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := e.Rev()
			if _, err := e.Commit(c.ctx, c.ops); !errors.Is(err, c.want) {
				t.Errorf("got error %v, want %v", err, c.want)
			}
			if e.Rev() != before {
				t.Errorf("revision went from %d to %d", before, e.Rev())
			}
		})
	}
	if _, err := e.Commit(t.Context(), nil); err == nil {
		t.Error("an empty batch was accepted")
	}
	commit(t, e, PutFloor(1, 1)) // it goes on
}

func TestLargeBatches(t *testing.T) {
	e := open(t, Options{})
	t.Run("operations", func(t *testing.T) {
		ops := make([]Op, MaxOps)
		for i := range ops {
			ops[i] = PutVariable(1, Variable{ID: uint64(i), Name: name(i), Data: []byte(name(i))})
		}
		before := e.Rev()
		if rev := commit(t, e, ops...); rev != before+1 {
			t.Errorf("batch is revision %d, want %d: one transaction", rev, before+1)
		}
		s := load(t, e, 1)
		if len(s.vars) != MaxOps || s.pages < 2 {
			t.Fatalf("loaded %d variables in %d pages, want %d in several", len(s.vars), s.pages, MaxOps)
		}
		for i, v := range s.vars {
			if v.Name != name(i) || string(v.Data) != name(i) {
				t.Fatalf("variable %d is %q with %q", i, v.Name, v.Data)
			}
		}
	})
	t.Run("bytes", func(t *testing.T) {
		data := bytes.Repeat([]byte("0123456789abcdef"), MaxValue/16)
		rest := data[:MaxBatch-MaxValue-4096]
		commit(t, e, PutVariable(2, Variable{Name: "big", Writer: "w", Data: data}), PutVariable(2, Variable{Name: "rest", Data: rest}))
		s := load(t, e, 2)
		if len(s.vars) != 2 || !bytes.Equal(s.vars[0].Data, data) || !bytes.Equal(s.vars[1].Data, rest) {
			t.Error("the value did not come back")
		}
	})
}

// A load is of one revision, whatever is committed and compacted while it runs.
func TestLoadIsOneRevision(t *testing.T) {
	e := open(t, Options{})
	const n = 1000
	fill := func(version uint64) {
		ops := make([]Op, n)
		for i := range ops {
			ops[i] = PutVariable(1, Variable{Name: name(i), Version: version})
		}
		commit(t, e, ops...)
	}
	fill(1)
	pages := 0
	_, rev, err := e.LoadService(t.Context(), 1, pageFunc(func(p Page) error {
		if pages++; pages == 1 {
			fill(2)
			if err := e.compact(); err != nil {
				return err
			}
		}
		for _, v := range p.Variables {
			if v.Version != 1 {
				t.Fatalf("page %d has version %d of %s", pages, v.Version, v.Name)
			}
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	if pages < 2 || rev >= e.Rev() {
		t.Errorf("load of %d pages at revision %d of %d: nothing was tested", pages, rev, e.Rev())
	}
	if len(e.reads.revs) != 0 {
		t.Errorf("revisions still held after the load: %v", e.reads.revs)
	}
	stop := errors.New("stop")
	if _, _, err := e.LoadService(t.Context(), 1, pageFunc(func(Page) error { return stop })); !errors.Is(err, stop) {
		t.Errorf("got error %v, want the callback's", err)
	}
}

func TestIDsAreNeverGivenTwice(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{Dir: dir})
	seen := map[uint64]bool{}
	take := func(n int) {
		t.Helper()
		for range n {
			id, err := e.NextID(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if seen[id] || id < FirstID || id >= 1<<63 {
				t.Fatalf("id %d is bad or was given before", id)
			}
			seen[id] = true
		}
	}
	take(idBlockSize + 10) // over the end of a block
	if !seen[FirstID] {
		t.Errorf("id %d was not the first", FirstID)
	}
	e.Close()
	e = open(t, Options{Dir: dir})
	take(10)
}

func TestSchemas(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        error
	}{
		{"newer", strconv.Itoa(Schema+1) + " something else", ErrSchema},
		{"nonsense", "x", ErrCorrupt},
		{"zero", "0 " + strings.Repeat("0", 32), ErrCorrupt},
		{"id", "1 00", ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeaks(t)
			dir := t.TempDir()
			e := open(t, Options{Dir: dir})
			if _, err := e.kv.Put(t.Context(), keyStore, c.value); err != nil {
				t.Fatal(err)
			}
			rev := e.Rev()
			e.Close()
			_, err := Open(t.Context(), Options{Dir: dir})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got error %v, want %v with the directory", err, c.want)
			}
			// It was not written to, and is open for a program that understands it.
			cfg := etcdConfig(Options{Dir: dir, Quota: defaultQuota}, nil)
			cfg.LogLevel = "panic"
			cfg.LogOutputs = []string{"/dev/null"}
			checkRev(t, cfg, rev)
		})
	}
}

// A store of an earlier schema is read, and from then on refused by the program that made it.
func TestEarlierSchema(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{Dir: dir})
	id := e.StoreID()
	for key, value := range map[string]string{keyStore: "1 " + id, tenantKey("t"): "\x01\x05\x06", tenantKey("u"): "\x05\x06\x06\x07", dirKey(7, "d"): "\x01\x08\x0a", dirKey(7, "e"): "\x03\x0a\x0a\x07",
		dirKey(7, "f"):      "\x04\x0b\x0a\x07\x02p/\x05",
		variableKey(7, "v"): "\x01\x09\x03\x0c\x01w\x00value", clientKey("c"): "\x01\x0canswers"} {
		if _, err := e.kv.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	e.Close()
	e = open(t, Options{Dir: dir})
	tenants, _, _, err := e.LoadTree(t.Context(), nil)
	if want := []Tenant{{ID: 5, Name: "t", MTime: 3}, {ID: 6, Name: "u", MTime: 3, Mode: 7}}; err != nil || !slices.Equal(tenants, want) {
		t.Errorf("got tenants %+v (%v), want %+v", tenants, err, want)
	}
	_, _, err = e.LoadService(t.Context(), 7, pageFunc(func(p Page) error {
		for _, d := range p.Dirs {
			if want := map[string]Dir{"d": {ID: 8, Name: "d", MTime: 5}, "e": {ID: 10, Name: "e", MTime: 5, Mode: 7},
				"f": {ID: 11, Name: "f", MTime: 5, Mode: 7, Prefix: "p/", Least: 5}}[d.Name]; d != want {
				t.Errorf("got %+v, want %+v", d, want)
			}
		}
		for _, v := range p.Variables {
			if v.ID != 9 || v.Version != 3 || v.MTime != 6 || v.Mode != 0 || v.Writer != "w" || string(v.Data) != "value" {
				t.Errorf("got %+v", v)
			}
		}
		return nil
	}))
	if err != nil {
		t.Error(err)
	}
	clients, err := e.LoadClients(t.Context(), nil)
	if err != nil || len(clients) != 1 || clients[0].ID != "c" || clients[0].Time != 6 || string(clients[0].Data) != "answers" {
		t.Errorf("got clients %+v (%v)", clients, err)
	}
	commit(t, e, DeleteClient("c"))
	if clients, err = e.LoadClients(t.Context(), nil); err != nil || len(clients) != 0 {
		t.Errorf("got clients %+v (%v), want none", clients, err)
	}
	marks, err := e.readMarks(t.Context())
	if want := strconv.Itoa(Schema) + " " + id; err != nil || marks.store != want {
		t.Errorf("the store says %q (%v), want %q", marks.store, err, want)
	}
}

func TestNewerRecordIsRefused(t *testing.T) {
	e := open(t, Options{})
	if _, err := e.kv.Put(t.Context(), tenantKey("t"), string([]byte{recordFormat + 1})+"whatever"); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := e.LoadTree(t.Context(), nil); !errors.Is(err, ErrSchema) {
		t.Errorf("got error %v, want %v", err, ErrSchema)
	}
}

func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	e := open(t, Options{Dir: dir})
	if _, err := Open(t.Context(), Options{Dir: dir}); !errors.Is(err, ErrInUse) {
		t.Errorf("got error %v, want %v", err, ErrInUse)
	}
	commit(t, e, PutFloor(1, 1))
}

// A damaged store is an error of Open, never the end of the process, and never an empty store.
func TestDamagedStore(t *testing.T) {
	spoil := func(b []byte) []byte {
		for i := 64; i < len(b) && i < 64<<10; i++ {
			b[i] ^= 0x55
		}
		return b
	}
	for _, c := range []struct {
		name, files string
		damage      func(b []byte) []byte // nil result: the file is gone
	}{
		{"log", "wal/*.wal", spoil},
		{"database", "snap/db", spoil},
		{"database header", "snap/db", func(b []byte) []byte { return append(make([]byte, 16<<10), b[16<<10:]...) }},
		{"log gone", "wal/*.wal", func([]byte) []byte { return nil }},
		{"database gone", "snap/db", func([]byte) []byte { return nil }},
		{"log empty", "wal/*.wal", func([]byte) []byte { return []byte{} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			e := open(t, Options{Dir: dir})
			for i := range snapshotEntries + 50 { // else the log alone has it all
				commit(t, e, PutFloor(1, uint64(i)))
			}
			e.Close()
			files, err := filepath.Glob(filepath.Join(etcdDir(dir), "member", c.files))
			if err != nil || len(files) == 0 {
				t.Fatalf("nothing to damage: %v", err)
			}
			for _, f := range files {
				b, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				if b = c.damage(b); b == nil {
					err = os.Remove(f)
				} else {
					err = os.WriteFile(f, b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			e, err = Open(ctx, Options{Dir: dir})
			if err == nil {
				floor := load(t, e, 1).floor
				e.Close()
				t.Fatalf("opened, floor %d, want an error", floor)
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got error %v, want %v with the directory", err, ErrCorrupt)
			}
		})
	}
}

func TestClose(t *testing.T) {
	noLeaks(t)
	e := open(t, Options{})
	for range 2 {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-e.Done():
	default:
		t.Error("Done is open after Close")
	}
	if _, err := e.Commit(t.Context(), []Op{PutFloor(1, 1)}); !errors.Is(err, ErrClosed) {
		t.Errorf("Commit: got error %v, want %v", err, ErrClosed)
	}
	if _, _, _, err := e.LoadTree(t.Context(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("LoadTree: got error %v, want %v", err, ErrClosed)
	}
	if _, err := e.NextID(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("NextID: got error %v, want %v", err, ErrClosed)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Options{Dir: dir}); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, ErrUnavailable)
	}
	// Such an end leaves an etcd without a leader: the next one begins anew. Later ones do not.
	e := open(t, Options{Dir: dir})
	commit(t, e, PutFloor(1, 7))
	e.Close()
	if floor := load(t, open(t, Options{Dir: dir}), 1).floor; floor != 7 {
		t.Errorf("floor %d, want 7", floor)
	}
}

// What etcd has to say comes at debug level; what it warns of is its settings, and they are as we want them.
func TestLog(t *testing.T) {
	var warn, debug logText
	open(t, Options{Logger: warn.logger(slog.LevelInfo)}).Close()
	if warn.String() != "" {
		t.Errorf("log of a good run, want nothing:\n%s", warn.String())
	}
	open(t, Options{Logger: debug.logger(slog.LevelDebug)}).Close()
	if !strings.Contains(debug.String(), "etcd: starting an etcd server") {
		t.Errorf("no word of etcd at debug level:\n%s", debug.String())
	}
}

func TestOpenTimes(t *testing.T) {
	dir := t.TempDir()
	for _, what := range []string{"empty directory", "existing store"} {
		start := time.Now()
		e := open(t, Options{Dir: dir})
		opened := time.Since(start)
		commit(t, e, PutFloor(1, 1))
		start = time.Now()
		e.Close()
		t.Logf("%s: open %v, close %v", what, opened, time.Since(start))
		if opened > 10*time.Second {
			t.Errorf("%s: open took %v", what, opened)
		}
	}
}
