package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	varfs "github.com/commy-project/commyfs/fs"
	"github.com/commy-project/commyfs/fs/mountpoint"
	"github.com/commy-project/commyfs/internal/names"
)

// privateFiles are the private files of a mount. Total counts those that are not listed too.
type privateFiles struct {
	Total int           `json:"total"`
	Files []privateFile `json:"files"`
}

type privateFile struct {
	Path    string `json:"path"`
	RawPath []byte `json:"path_base64,omitempty"` // if it is not valid UTF-8
	Size    int64  `json:"size"`
}

// privateOf asks a mount. The result is empty if it does not answer within the bound or is not a commyfs mount.
func privateOf(ctx context.Context, dir string, bound time.Duration) (privateFiles, error) {
	return mountpoint.Bounded(ctx, bound, func() (privateFiles, error) {
		files, total, err := varfs.Private(dir)
		p := privateFiles{Total: total}
		for _, f := range files {
			p.Files = append(p.Files, privateFile{f.Path, raw(f.Path), f.Size})
		}
		return p, err
	})
}

// restartsOf asks a mount how often it was restarted, and when last. It is 0 if it does not answer.
func restartsOf(ctx context.Context, dir string) (n int, last int64) {
	n, _ = mountpoint.Bounded(ctx, askingBound, func() (int, error) {
		n, at, err := varfs.RestartsOf(dir)
		if err == nil && n > 0 {
			last = at.UnixNano()
		}
		return n, err
	})
	return n, last
}

// String lists the first few.
func (p privateFiles) String() string {
	const most = 10
	var out []string
	for _, f := range p.Files[:min(most, len(p.Files))] {
		out = append(out, varfs.PrivateFile{Path: names.Show(f.Path), Size: f.Size}.String())
	}
	if more := p.Total - len(out); more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, ", ")
}
