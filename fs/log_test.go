package fs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestLog(t *testing.T) {
	var passed bytes.Buffer
	l := NewLog(slog.NewTextHandler(&passed, &slog.HandlerOptions{Level: slog.LevelWarn}))
	log := slog.New(l).With("a", 1).WithGroup("g")
	log.Debug("not kept")
	log.Info("kept", "b", 2)
	log.Warn("passed on", "b", 3)
	if got := string(l.keep.text()); strings.Contains(got, "not kept") || !strings.Contains(got, "msg=kept a=1 g.b=2\n") || !strings.Contains(got, "g.b=3\n") {
		t.Errorf("kept: %s", got)
	}
	if got := passed.String(); strings.Contains(got, "kept") || !strings.Contains(got, `msg="passed on" a=1 g.b=3`) {
		t.Errorf("passed on: %s", got)
	}
	for range 10 {
		log.Warn("long", "x", strings.Repeat("x", 2*logBytes))
	}
	if n := len(l.keep.text()); n > logBytes || n == 0 {
		t.Errorf("%d bytes are kept", n)
	}
	for i := range 2 * logLines {
		log.Info("short", "i", i)
	}
	lines := strings.Count(string(l.keep.text()), "\n")
	if lines > logLines || !strings.Contains(string(l.keep.text()), "i=1999") {
		t.Errorf("%d lines are kept", lines)
	}
}
