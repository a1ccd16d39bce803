package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/commy-project/commyfs"
	"unicode"
)

// hostile is what somebody else may call things.
const hostile = "a\x1b[31m\nforged \u009b2J\u202eline\x07\xff\\n"

// wantHarmless fails for output that a terminal acts on, or of other than so many lines.
func wantHarmless(t *testing.T, what, out string, lines int) {
	t.Helper()
	if i := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && !unicode.IsPrint(r) }); i >= 0 || strings.Contains(out, "\xff") {
		t.Errorf("%s: %q at %d of %q", what, out[i:min(i+4, len(out))], i, out)
	}
	if n := strings.Count(out, "\n"); n != lines {
		t.Errorf("%s: %d lines, want %d: %q", what, n, lines, out)
	}
}

func TestOutputIsHarmless(t *testing.T) {
	size := int64(1)
	entry := entryJSON{Path: hostile, RawPath: raw(hostile), Type: "variable", Size: &size, Writer: hostile}
	at := commyfs.Path{Tenant: hostile, Service: hostile, Name: hostile}
	moved := commyfs.Event{Kind: commyfs.EventRenamed, Entry: commyfs.Entry{Info: commyfs.Info{Tenant: hostile, Service: hostile, Name: hostile, Writer: hostile}, Value: []byte(hostile)}, Old: at}
	session := sessionJSON{RawMount: raw(hostile)}
	session.Program, session.Mount, session.Host, session.User, session.Remote = hostile, hostile, hostile, hostile, hostile
	for what, c := range map[string]struct {
		print func(*bytes.Buffer) error
		lines int
	}{
		"stat":         {func(b *bytes.Buffer) error { return printStat(b, &entry) }, 8},
		"stat in JSON": {func(b *bytes.Buffer) error { return writeJSON(b, entry) }, 1},
		"watch":        {func(b *bytes.Buffer) error { return textEvent(b, &moved) }, 1},
		"watch, JSON":  {func(b *bytes.Buffer) error { return jsonEvent(b, &moved) }, 1},
		"status, JSON": {func(b *bytes.Buffer) error { return writeJSON(b, statusJSON{Sessions: []sessionJSON{session}}) }, 1},
		"showf":        {func(b *bytes.Buffer) error { return showf(b, "%-9s %d\n", hostile, 1) }, 1},
		"error": {func(b *bytes.Buffer) error {
			b.WriteString(errorLine(fmt.Errorf("%s: %w", hostile, errTest)) + "\n")
			return nil
		}, 1},
		"doctor": {func(b *bytes.Buffer) error {
			a, _, _ := testApp(nil)
			a.stdout = b
			return (&report{Findings: []finding{good("x", "%s", hostile)}}).print(a, false)
		}, 1},
	} {
		var b bytes.Buffer
		if err := c.print(&b); err != nil {
			t.Fatal(err)
		}
		wantHarmless(t, what, b.String(), c.lines)
	}
	for _, format := range []string{"text", "json"} {
		var b bytes.Buffer
		l := logging{format: choice{value: format}}
		log := l.logger(&b, slog.LevelInfo)
		log.Info(hostile, "name", hostile, "err", fmt.Errorf("%s", hostile))
		log.With("with", hostile).Info("second")
		wantHarmless(t, "log in "+format, b.String(), 2)
	}
}

var errTest = fmt.Errorf("test")

// FuzzJSON: whatever is written is one line that can be read again, and no terminal acts on it.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{"", "plain", hostile, "\U000e0001 \u2028 \x7f \U0001f525", "\xed\xa0\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var b bytes.Buffer
		if err := writeJSON(&b, entryJSON{Path: s, RawPath: raw(s)}); err != nil {
			t.Fatal(err)
		}
		wantHarmless(t, "JSON", b.String(), 1)
		var back entryJSON
		if err := json.Unmarshal(b.Bytes(), &back); err != nil {
			t.Fatal(err)
		}
		got := back.Path
		if back.RawPath != nil {
			got = string(back.RawPath)
		}
		if got != s {
			t.Errorf("%q comes back as %q: %s", s, got, b.String())
		}
	})
}

func TestLongValuesAreCutBetweenRunes(t *testing.T) {
	var b bytes.Buffer
	ev := commyfs.Event{Kind: commyfs.EventModified, Entry: commyfs.Entry{Value: []byte("x" + strings.Repeat("é", 40))}}
	if err := textEvent(&b, &ev); err != nil || !strings.Contains(b.String(), `"x`+strings.Repeat("é", 31)+`"...`) {
		t.Errorf("%v: %q", err, b.String())
	}
}
