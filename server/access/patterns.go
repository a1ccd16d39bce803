package access

import (
	"path"
	"slices"
	"strings"
)

func matches(patterns []string, tenant string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, tenant); ok && err == nil {
			return true
		}
	}
	return len(patterns) == 0
}

// within reports whether patterns open no tenant that outer does not open. It says no where it cannot tell: a pattern must
// be one of outer's, a plain name that one of them matches, or begin as one that is a plain beginning and "*".
func within(patterns, outer []string) bool {
	if len(outer) == 0 {
		return true
	}
	if len(patterns) == 0 {
		return slices.Contains(outer, "*")
	}
	return !slices.ContainsFunc(patterns, func(p string) bool {
		return !slices.ContainsFunc(outer, func(o string) bool { return subsumes(o, p) })
	})
}

// special are the characters that mean something in a pattern.
const special = `*?[\`

func subsumes(outer, pattern string) bool {
	if outer == pattern {
		return true
	}
	if begin, ok := strings.CutSuffix(outer, "*"); ok && !strings.ContainsAny(begin, special) {
		return strings.HasPrefix(pattern, begin)
	}
	if strings.ContainsAny(pattern, special) {
		return false
	}
	ok, err := path.Match(outer, pattern)
	return ok && err == nil
}
