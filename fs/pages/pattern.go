package pages

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Patterns select variables by tenant/service/variable.
type Patterns [][]string

// whole stands for any number of components.
const whole = "**"

var errPattern = errors.New("must be TENANT/SERVICE/VARIABLE, with * for anything but a slash and ** for any number of components")

// ParsePatterns parses patterns. A component is one of [path.Match], or "**" for any number of components.
func ParsePatterns(list []string) (Patterns, error) {
	var ps Patterns
	for _, text := range list {
		parts := strings.Split(text, "/")
		for _, c := range parts {
			if c == "" {
				return nil, fmt.Errorf("%q: %w", text, errPattern)
			}
			if c != whole && strings.Contains(c, whole) {
				return nil, fmt.Errorf("%q: ** must stand alone between slashes", text)
			}
			if _, err := path.Match(c, ""); err != nil {
				return nil, fmt.Errorf("%q: %w", text, err)
			}
		}
		if len(parts) < 3 && !slices.Contains(parts, whole) {
			return nil, fmt.Errorf("%q: %w", text, errPattern)
		}
		ps = append(ps, parts)
	}
	return ps, nil
}

// Match reports whether a variable is selected, whose path has these components.
func (ps Patterns) Match(parts []string) bool {
	return slices.ContainsFunc(ps, func(p []string) bool { return match(p, parts) })
}

func match(pattern, parts []string) bool {
	for i, c := range pattern {
		if c == whole {
			for j := i; j <= len(parts); j++ {
				if match(pattern[i+1:], parts[j:]) {
					return true
				}
			}
			return false
		}
		if i >= len(parts) {
			return false
		}
		if ok, err := path.Match(c, parts[i]); !ok || err != nil {
			return false
		}
	}
	return len(pattern) == len(parts)
}
