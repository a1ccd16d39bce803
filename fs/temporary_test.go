package fs

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const mkstemp = syscall.O_RDWR | syscall.O_EXCL

func TestTemporaries(t *testing.T) {
	const excl = syscall.O_WRONLY | syscall.O_EXCL
	for _, tt := range []struct {
		name        string
		flags, mode uint32
		want        bool
	}{
		{"v", wr, 0o644, false},
		{"v", mkstemp, 0o600, false},
		{"", wr, 0o644, false},
		{"v~", wr, 0o644, true},
		{"~", wr, 0o644, true},
		{".v.swp", wr, 0o644, true},
		{".v.swpx", wr, 0o644, true},
		{".v.swz", wr, 0o644, false},
		{"#v#", wr, 0o644, true},
		{".#v", wr, 0o644, true},
		{".~lock.v.ods#", excl, 0o644, true},
		{".goutputstream-AB12CD", excl, 0o644, true},
		{"v.tmp", excl, 0o644, false},
		{".v.tmp", excl, 0o644, false},
		{".v.tmp", mkstemp, 0o600, false},
		{".v.AbC123", mkstemp, 0o600, false}, // rsync's: a variable until it is renamed
		{"4913", wr, 0o644, false},
		{"4913", excl, 0o644, true},
		{"sediments", wr, 0o600, false},
		{"sediments", excl, 0o600, false},
		{"sediments", mkstemp, 0o644, false},
		{"sedAbC123", mkstemp, 0o600, true},
		{"sedations", mkstemp, 0o600, true}, // nobody can tell it from sed's
		{"sedation", mkstemp, 0o600, false},
	} {
		if got := (Temporaries{}).makes(tt.name, tt.flags, tt.mode); got != tt.want {
			t.Errorf("%q, flags %#o, mode %#o: %v", tt.name, tt.flags, tt.mode, got)
		}
	}
	for name, want := range map[string]bool{"v~": true, ".v.swp": true, "4913": false, "sedAbC123": false, ".v.tmp": false, "v": false} {
		if got := (Temporaries{}).keeps(name); got != want {
			t.Errorf("renamed to %q: %v", name, got)
		}
	}
}

func TestParseTemporaries(t *testing.T) {
	defaults := strings.Join(DefaultTemporaries, ",")
	for _, tt := range []struct {
		in   []string
		want string
	}{
		{nil, defaults},
		{[]string{"defaults"}, defaults},
		{[]string{"none"}, "none"},
		{[]string{""}, "none"},
		{[]string{"*.part"}, "*.part"},
		{[]string{"*.part,excl:*.lck", "mkstemp:tmp*"}, "*.part,excl:*.lck,mkstemp:tmp*"},
		{[]string{"defaults", "*.part"}, defaults + ",*.part"},
	} {
		got, err := ParseTemporaries(tt.in)
		if err != nil || got.String() != tt.want {
			t.Errorf("%q is %q, %v, want %q", tt.in, got, err, tt.want)
		}
		again, err := ParseTemporaries([]string{got.String()})
		if err != nil || !slices.Equal(again.list(), got.list()) {
			t.Errorf("%q, read again, is %q, %v", got, again, err)
		}
	}
	for _, in := range []string{"[", "a[", "excl:", "a/b", "none,*.part", "defaults,none"} {
		if got, err := ParseTemporaries([]string{in}); err == nil {
			t.Errorf("%q is taken for %q", in, got)
		}
	}
}

// mknod is no descriptor: nobody is about to rename what it makes.
func TestMknodMakesVariables(t *testing.T) {
	m := newMount(t, Options{})
	status := m.Mknod(nil, &fuse.MknodIn{InHeader: m.header(m.id("t/s")), Mode: syscall.S_IFREG | 0o644}, "v~", &fuse.EntryOut{})
	m.ok("mknod", status)
	m.wantStored("v~", "")
}

func TestPrivateAttribute(t *testing.T) {
	m := newMount(t, Options{})
	m.mkdir(m.id("t/s"), "d")
	m.put("t/s/b~", "backup")
	m.put("t/s/d/a~", "")
	m.put("t/s/v", "shared")
	m.put("t/s/gone~", "x")
	m.ok("unlink", m.unlink("t/s/gone~"))
	m.put("t/s/saved~", "becomes a variable")
	m.ok("rename", m.rename("t/s/saved~", "t/s/saved", 0))
	m.put("t/s/f", "old")
	m.ok("rename", m.rename("t/s/f", "t/s/f~", 0)) // the server has it
	want := []PrivateFile{{"t/s/b~", 6}, {"t/s/d/a~", 0}}
	buf := make([]byte, 64<<10)
	h := m.header(rootID)
	n, status := m.GetXAttr(nil, &h, privateXattr, buf)
	m.ok("getxattr", status)
	if got, total, err := parsePrivate(string(buf[:n])); err != nil || total != 2 || !slices.Equal(got, want) {
		t.Errorf("%v, %d, %v, want %v", got, total, err, want)
	}
	many := make([]PrivateFile, 1000)
	for i := range many {
		many[i].Path = strings.Repeat("long/", 50)
	}
	value := formatPrivate(many)
	if got, total, err := parsePrivate(value); err != nil || total != 1000 || len(got) == 0 || len(value) > maxPrivate+300 {
		t.Errorf("%d of %d files in %d bytes, %v", len(got), total, len(value), err)
	}
	for _, bad := range []string{"", "x", "1\x00x", "1\x00x y"} {
		if _, _, err := parsePrivate(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
