package main

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestNotify(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), "@commyfs-test-" + filepath.Base(t.TempDir())} {
		l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		a := &app{getenv: func(string) string { return name }}
		a.notify("READY=1", "STATUS=x")
		if err := l.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		if n, err := l.Read(buf); err != nil || string(buf[:n]) != "READY=1\nSTATUS=x" {
			t.Errorf("%s: %q, %v", name, buf[:n], err)
		}
	}
	for _, name := range []string{"", filepath.Join(t.TempDir(), "nobody")} {
		a := &app{getenv: func(string) string { return name }}
		a.notify("READY=1") // does not fail
	}
}
