package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"

	"github.com/commy-project/commyfs"
	"github.com/commy-project/commyfs/internal/jsonline"
	"github.com/commy-project/commyfs/internal/names"
	"github.com/commy-project/commyfs/internal/watch"
	"github.com/commy-project/commyfs/model"
)

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

func jsonEvent(w io.Writer, ev *commyfs.Event) error {
	return writeJSON(w, jsonline.ChangeOf(watched(ev)))
}

// watched is what an event of the SDK is made of.
func watched(ev *commyfs.Event) *watch.Event {
	out := &watch.Event{Kind: watch.Kind(ev.Kind), Value: ev.Value, Old: ev.Old.Components(), Own: ev.Own,
		Entry: model.Entry{Tenant: ev.Tenant, Service: ev.Service, Name: ev.Name, Dir: ev.Dir, ID: ev.ID, Version: ev.Version, Mode: ev.Mode,
			Writer: ev.Writer, Size: ev.Size, Bare: ev.Bare}}
	if !ev.Time.IsZero() {
		out.MTime = ev.Time.UnixNano()
	}
	return out
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
		_, err := fmt.Fprintf(w, "%s %-6s %s\n", jsonline.EventTime(watched(ev)), jsonline.EventName(watch.Kind(ev.Kind)), what)
		return err
	}
	value, more := ev.Value, ""
	if len(value) > shownValue {
		value, more = []byte(names.Cut(string(value), shownValue)), "..."
	}
	_, err := fmt.Fprintf(w, "%s %-6s %s version %d, %d bytes by %s: %s%s\n", jsonline.EventTime(watched(ev)), jsonline.EventName(watch.Kind(ev.Kind)), what, ev.Version, len(ev.Value),
		names.Show(ev.Writer), strconv.Quote(string(value)), more)
	return err
}
