package model

// Rights is a set of what a session may do in a tenant.
type Rights uint32

// The rights; an API key carries any of them.
const (
	RightRead Rights = 1 << iota
	RightWrite
	RightCreate
	RightDelete
	RightAdmin
)
