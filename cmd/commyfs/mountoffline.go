package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	varfs "github.com/commy-project/commyfs/fs"
	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/local"
	"github.com/commy-project/commyfs/offline"
)

// queueWait is how long a mount waits for its queue: the mount before it may be about to end.
const queueWait = 10 * time.Second

// openQueue opens the offline queue of a mount, nil if it is to have none.
func (o *mountOptions) openQueue(ctx context.Context, dir string, log *slog.Logger) (*offline.Queue, error) {
	server := strings.Join(o.server, ",")
	path := offline.Dir(o.state, server, dir)
	if o.offline.value != "queue" || o.readOnly {
		if i, ok := offline.Inspect(path); ok && i.Entries > 0 {
			log.Warn("edits are in the offline queue of this mount: they are replayed by a mount with --offline=queue", "edits", i.Entries, "dir", path)
		}
		return nil, nil
	}
	if err := local.MakeDir(o.state); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(queueWait)
	for {
		q, err := offline.Open(path, offline.Options{
			Limits: offline.Limits{Entries: int(o.offlineEntries), Bytes: int64(o.offlineBytes)}, Server: server, Mount: dir, Logger: log,
		})
		if !errors.Is(err, offline.ErrLocked) || time.Now().After(deadline) || !sleep(ctx, autoPoll) {
			return q, err
		}
	}
}

// offlineJSON is the offline queue of a mount.
type offlineJSON struct {
	Entries    int        `json:"entries"`
	Bytes      int64      `json:"bytes"`
	Variables  int        `json:"variables"`
	MaxEntries int        `json:"max_entries,omitempty"`
	MaxBytes   int64      `json:"max_bytes,omitempty"`
	Oldest     *time.Time `json:"oldest,omitempty"`
	Aside      int        `json:"set_aside"`
	Damaged    int        `json:"damaged,omitempty"`
	Refused    int        `json:"refused_variables,omitempty"`
	Why        string     `json:"refused_why,omitempty"`
}

func newOfflineJSON(s offline.Stats) *offlineJSON {
	o := &offlineJSON{Entries: s.Entries, Bytes: s.Bytes, Variables: s.Variables, MaxEntries: s.Limits.Entries, MaxBytes: s.Limits.Bytes,
		Aside: s.Aside, Damaged: s.Damaged, Refused: s.Refused, Why: s.Why}
	if !s.Oldest.IsZero() {
		o.Oldest = &s.Oldest
	}
	return o
}

// String is for the text output.
func (o *offlineJSON) String() string {
	parts := []string{"empty"}
	if o.Entries > 0 {
		parts[0] = fmt.Sprintf("%s of %s, %d bytes", countOf(o.Entries, "edit"), countOf(o.Variables, "variable"), o.Bytes)
		if o.Oldest != nil {
			parts = append(parts, "since "+formatNano(o.Oldest.UnixNano()))
		}
	}
	if o.Aside > 0 {
		parts = append(parts, fmt.Sprintf("%d set aside: see commyfs offline list", o.Aside))
	}
	if o.Refused > 0 {
		parts = append(parts, fmt.Sprintf("%s that the server does not take: %s", countOf(o.Refused, "variable"), o.Why))
	}
	if o.Damaged > 0 {
		parts = append(parts, fmt.Sprintf("found damaged %d times", o.Damaged))
	}
	return strings.Join(parts, ", ")
}

// offlineOf asks a mount. The result is nil if it has no queue, or does not answer within the bound.
func offlineOf(ctx context.Context, dir string, bound time.Duration) (*offlineJSON, error) {
	return mountpoint.Bounded(ctx, bound, func() (*offlineJSON, error) {
		s, ok, err := varfs.OfflineOf(dir)
		if !ok || err != nil {
			return nil, err
		}
		return newOfflineJSON(s), nil
	})
}
