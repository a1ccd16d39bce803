package model

// Mode is nine permission bits with [ModeSet]. The zero Mode says that nobody has set any.
type Mode uint16

// ModeSet marks a Mode whose bits somebody has set, be they 0.
const ModeSet Mode = 1 << 15

// NewMode is the Mode of permission bits; others in perm are left out.
func NewMode(perm uint32) Mode { return ModeSet | Mode(perm&0o777) }

// Perm returns the permission bits, where nobody has set any those of a new directory or file.
func (m Mode) Perm(dir bool) uint32 {
	switch {
	case m&ModeSet != 0:
		return uint32(m & 0o777)
	case dir:
		return 0o777
	}
	return 0o666
}
