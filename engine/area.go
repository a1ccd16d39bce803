package engine

import (
	"cmp"
	"strings"
)

// Area is the keys of directories and variables under a home that begin with a prefix.
type Area struct {
	Home   uint64
	Prefix string
}

func (a Area) compare(b Area) int {
	return cmp.Or(cmp.Compare(a.Home, b.Home), strings.Compare(a.Prefix, b.Prefix))
}

// Areas is a set of areas.
type Areas map[Area]bool

// Hold reports whether what is stored under a home with such a name, or prefix, is in one of them.
func (s Areas) Hold(home uint64, stored string) bool {
	if len(s) == 0 {
		return false
	}
	for end := 0; ; {
		if s[Area{home, stored[:end]}] {
			return true
		}
		n := strings.IndexByte(stored[end:], '/')
		if n < 0 {
			return false
		}
		end += n + 1
	}
}
