package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/names"
)

var eventNames = map[commyfs.EventKind]string{
	commyfs.EventCreated: "create", commyfs.EventModified: "modify", commyfs.EventMeta: "attrib", commyfs.EventDeleted: "delete",
	commyfs.EventRenamed: "move",
}

// printEvents writes events until there are no more, each as soon as it can.
func printEvents(out io.Writer, events <-chan commyfs.Event, write func(io.Writer, *commyfs.Event) error) error {
	buf := bufio.NewWriter(out)
	for ev := range events {
		err := write(buf, &ev)
		if err == nil && len(events) == 0 {
			err = buf.Flush()
		}
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// changeJSON is a line of watch --output json.
type changeJSON struct {
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
}

func jsonEvent(w io.Writer, ev *commyfs.Event) error {
	p, old := path(ev.Path()).String(), path(ev.Old).String()
	line := changeJSON{Path: p, RawPath: raw(p), Event: eventNames[ev.Kind], OldPath: old, RawOld: raw(old), Dir: ev.Dir,
		Version: ev.Version, Writer: ev.Writer, Time: eventTime(ev)}
	if ev.Kind == commyfs.EventMeta {
		line.Mode = formatMode(ev.Mode, ev.Dir)
	}
	if size := len(ev.Value); ev.Value != nil {
		line.Size, line.Value = &size, &ev.Value
	}
	return writeJSON(w, line)
}

// shownValue is how many bytes of a value the text output shows.
const shownValue = 64

func textEvent(w io.Writer, ev *commyfs.Event) error {
	what := names.Show(path(ev.Path()).String())
	if ev.Kind == commyfs.EventRenamed {
		what = names.Show(path(ev.Old).String()) + " -> " + what
	}
	if ev.Dir {
		what += "/"
	}
	if ev.Kind == commyfs.EventMeta {
		what += " mode " + formatMode(ev.Mode, ev.Dir)
	}
	if ev.Value == nil {
		_, err := fmt.Fprintf(w, "%s %-6s %s\n", eventTime(ev), eventNames[ev.Kind], what)
		return err
	}
	value, more := ev.Value, ""
	if len(value) > shownValue {
		value, more = []byte(names.Cut(string(value), shownValue)), "..."
	}
	_, err := fmt.Fprintf(w, "%s %-6s %s version %d, %d bytes by %s: %s%s\n", eventTime(ev), eventNames[ev.Kind], what, ev.Version, len(ev.Value),
		names.Show(ev.Writer), strconv.Quote(string(value)), more)
	return err
}

func eventTime(ev *commyfs.Event) string {
	if ev.Time.IsZero() {
		return formatTime(time.Now()) // deleted while disconnected
	}
	return formatTime(ev.Time)
}
