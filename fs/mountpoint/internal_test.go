package mountpoint

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseMounts(t *testing.T) {
	got, err := parseMounts(`22 27 0:21 / /proc rw,relatime - proc proc rw
700 27 0:300 / /mnt/a\040b\134c rw,nosuid shared:1 master:2 - fuse.commyfs x\040y rw,user_id=0
701 700 8:17 /sub /mnt/\011 rw - ext4  rw
`)
	want := []mountEntry{
		{id: 22, parent: 27, dev: unix.Mkdev(0, 21), minr: 21, dir: "/proc", fsType: "proc", source: "proc"},
		{id: 700, parent: 27, dev: unix.Mkdev(0, 300), minr: 300, dir: `/mnt/a b\c`, fsType: "fuse.commyfs", source: "x y"},
		{id: 701, parent: 700, dev: unix.Mkdev(8, 17), major: 8, minr: 17, dir: "/mnt/\t", fsType: "ext4"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	for _, bad := range []string{
		"x", "22 27 0:21 / /proc rw - proc", "x 27 0:21 / /proc rw - proc proc", "22 27 021 / /proc rw - proc proc",
		"22 27 0:21 / /proc rw proc proc rw",
	} {
		if got, err := parseMounts(bad); err == nil {
			t.Errorf("%q: %+v, want an error", bad, got)
		}
	}
}

func TestParseOptions(t *testing.T) {
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	for _, tt := range []struct {
		name       string
		o          Options
		flags      uintptr
		data       string
		fusermount string
	}{
		{"zero", Options{}, flags, "", "fsname=commyfs,subtype=commyfs,nosuid,nodev"},
		{"all", Options{FSName: `a,b\`, Subtype: "s", AllowOther: true, MaxRead: 4096, Extra: []string{"noexec", "blksize=1"}},
			flags | unix.MS_NOEXEC, "max_read=4096,allow_other,blksize=1",
			`fsname=a\,b\\,subtype=s,nosuid,nodev,noexec,max_read=4096,allow_other,blksize=1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseOptions(tt.o)
			if err != nil {
				t.Fatal(err)
			}
			if got.flags != tt.flags || strings.Join(got.data, ",") != tt.data || got.fusermount() != tt.fusermount {
				t.Errorf("got %#x, %q, %q", got.flags, got.data, got.fusermount())
			}
		})
	}
	for _, bad := range []Options{
		{Subtype: "a,b"}, {FSName: "a\nb"}, {MaxRead: -1},
		{Extra: []string{"ro"}}, {Extra: []string{"default_permissions"}}, {Extra: []string{"suid"}},
		{Extra: []string{"fd=3"}}, {Extra: []string{""}}, {Extra: []string{"a,ro"}},
	} {
		if got, err := parseOptions(bad); err == nil {
			t.Errorf("%+v: %+v, want an error", bad, got)
		}
	}
}

func TestFusermountError(t *testing.T) {
	exit := errors.New("exit status 1")
	for _, tt := range []struct{ stderr, want string }{
		{"", "fusermount3: exit status 1"},
		{"fusermount3: failed to open /dev/fuse: Permission denied\n", `fusermount3: failed to open /dev/fuse: Permission denied: run as root or "chmod 0666 /dev/fuse"`},
		{"fusermount3: fuse device not found, try 'modprobe fuse' first\n", `fusermount3: fuse device not found, try 'modprobe fuse' first: run "modprobe fuse"`},
		{"fusermount3: something new\nand more\n", "fusermount3: something new"},
	} {
		if got := fusermountError(tt.stderr, exit).Error(); got != tt.want {
			t.Errorf("%q: got  %q\nwant %q", tt.stderr, got, tt.want)
		}
	}
	busy := fusermountError("fusermount3: failed to unmount /x: Device or resource busy\n", exit)
	if !errors.Is(busy, unix.EBUSY) {
		t.Errorf("busy: %v", busy)
	}
}
