// Package jsonline writes JSON that is one line for each thing, for programs and terminals, and the changes that
// `commyfs watch` and the file .commy/events of a mount tell of.
package jsonline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/internal/watch"
	"github.com/commy-project/commyfs/model"
)

// Line returns v as one line.
func Line(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(Escape(b), '\n'), nil
}

// Escape escapes what is unprintable in JSON, which itself requires that only for ASCII. It occurs only in strings.
func Escape(b []byte) []byte {
	hidden := func(r rune) bool { return !unicode.IsPrint(r) }
	if !bytes.ContainsFunc(b, hidden) {
		return b
	}
	out := make([]byte, 0, len(b)+32)
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case !hidden(r):
			out = append(out, b[:n]...)
		case r > 0xffff:
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		b = b[n:]
	}
	return out
}

// Raw returns the bytes of a string that is not valid UTF-8, otherwise nil: JSON would have U+FFFD in their place.
func Raw(s string) []byte {
	if utf8.ValidString(s) {
		return nil
	}
	return []byte(s)
}

// Change is a line that tells of a change.
type Change struct {
	Path    string  `json:"path"`
	RawPath []byte  `json:"path_base64,omitempty"` // if it is not valid UTF-8
	Event   string  `json:"event"`                 // "create", "modify", "attrib", "delete" or "move"
	OldPath string  `json:"old_path,omitempty"`
	RawOld  []byte  `json:"old_path_base64,omitempty"`
	Dir     bool    `json:"dir,omitempty"`
	Mode    string  `json:"mode,omitempty"` // for attrib
	Version uint64  `json:"version,omitempty"`
	Size    *int    `json:"size,omitempty"`
	Writer  string  `json:"writer,omitempty"`
	Time    string  `json:"time"`
	Value   *[]byte `json:"value_base64,omitempty"`
	Token   string  `json:"token,omitempty"` // only in .commy/events
}

var eventNames = map[watch.Kind]string{
	watch.Created: "create", watch.Modified: "modify", watch.Meta: "attrib", watch.Deleted: "delete", watch.Renamed: "move",
}

// EventName is what the commands call a kind of event.
func EventName(k watch.Kind) string { return eventNames[k] }

// ChangeOf describes an event.
func ChangeOf(ev *watch.Event) Change {
	p, old := names.Path(ev.Path()), names.Path(ev.Old)
	c := Change{Path: p, RawPath: Raw(p), Event: EventName(ev.Kind), OldPath: old, RawOld: Raw(old), Dir: ev.Dir, Version: ev.Version,
		Writer: ev.Writer, Time: EventTime(ev)}
	if ev.Kind == watch.Meta {
		c.Mode = Mode(ev.Mode, ev.Dir)
	}
	if size := len(ev.Value); ev.Value != nil {
		c.Size, c.Value = &size, &ev.Value
	}
	return c
}

// EventTime is when an event happened.
func EventTime(ev *watch.Event) string {
	if ev.MTime == 0 {
		return Time(time.Now()) // deleted while disconnected
	}
	return Time(time.Unix(0, ev.MTime))
}

// Time keeps nanoseconds, which distinguish changes.
func Time(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000000Z") }

// Mode has the permission bits in octal.
func Mode(m model.Mode, dir bool) string { return fmt.Sprintf("%04o", m.Perm(dir)) }
