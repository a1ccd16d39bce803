//go:build !amd64

package fs

// legacySetting: there are none.
var legacySetting []int
