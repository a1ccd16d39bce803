package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/commy-project/commyfs/internal/names"
)

// The queue of changes may grow so far before modifications of one variable are merged: the last value is what counts.
const (
	manyChanges = 10_000
	manyBytes   = 64 << 20
)

// changes are what is to be printed. Nothing is ever dropped but a value that a later one replaces.
type changes struct {
	list     []change
	bytes    int
	modified map[uint64]int // where in the list the last event of a variable is, if it is one that can be merged into
}

func (q *changes) add(c change) {
	if i, ok := q.modified[c.id]; ok && c.event == "modify" && (len(q.list) > manyChanges || q.bytes > manyBytes) {
		q.bytes += len(c.value) - len(q.list[i].value)
		q.list[i] = c
		return
	}
	delete(q.modified, c.id)
	if c.event == "modify" {
		q.modified[c.id] = len(q.list)
	}
	q.list = append(q.list, c)
	q.bytes += len(c.value)
}

func (q *changes) take() []change {
	list := q.list
	q.list, q.bytes = nil, 0
	clear(q.modified)
	return list
}

// printLoop writes changes until ctx ends, each as soon as it can.
func (w *watcher) printLoop(ctx context.Context, out io.Writer, write func(io.Writer, *change) error) error {
	buf := bufio.NewWriter(out)
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil
		}
		w.mu.Lock()
		list := w.queue.take()
		w.mu.Unlock()
		for i := range list {
			if err := write(buf, &list[i]); err != nil {
				return err
			}
		}
		if err := buf.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
}

// changeJSON is a line of watch --output json.
type changeJSON struct {
	Path    string  `json:"path"`
	RawPath []byte  `json:"path_base64,omitempty"` // of one that is no UTF-8
	Event   string  `json:"event"`                 // "create", "modify", "attrib", "delete" or "move"
	OldPath string  `json:"old_path,omitempty"`
	RawOld  []byte  `json:"old_path_base64,omitempty"`
	Dir     bool    `json:"dir,omitempty"`
	Mode    string  `json:"mode,omitempty"` // of attrib
	Version uint64  `json:"version,omitempty"`
	Size    *int    `json:"size,omitempty"`
	Writer  string  `json:"writer,omitempty"`
	Time    string  `json:"time"`
	Value   *[]byte `json:"value_base64,omitempty"`
}

func jsonChange(w io.Writer, c *change) error {
	line := changeJSON{Path: c.path, RawPath: raw(c.path), Event: c.event, OldPath: c.oldPath, RawOld: raw(c.oldPath), Dir: c.dir, Mode: c.mode,
		Version: c.version, Writer: c.writer, Time: c.time()}
	if c.hasValue {
		size := len(c.value)
		value := c.value
		if value == nil {
			value = []byte{}
		}
		line.Size, line.Value = &size, &value
	}
	return writeJSON(w, line)
}

// shownValue is how much of a value a line of text shows.
const shownValue = 64

func textChange(w io.Writer, c *change) error {
	path := names.Show(c.path)
	if c.oldPath != "" {
		path = names.Show(c.oldPath) + " -> " + path
	}
	if c.dir {
		path += "/"
	}
	if c.mode != "" {
		path += " mode " + c.mode
	}
	if !c.hasValue {
		_, err := fmt.Fprintf(w, "%s %-6s %s\n", c.time(), c.event, path)
		return err
	}
	value, more := c.value, ""
	if len(value) > shownValue {
		value, more = []byte(names.Cut(string(value), shownValue)), "..."
	}
	_, err := fmt.Fprintf(w, "%s %-6s %s version %d, %d bytes by %s: %s%s\n", c.time(), c.event, path, c.version, len(c.value), names.Show(c.writer),
		strconv.Quote(string(value)), more)
	return err
}

func (c *change) time() string {
	if c.mtime == 0 {
		return formatTime(time.Now().UnixNano()) // it went while we were not connected
	}
	return formatTime(c.mtime)
}
