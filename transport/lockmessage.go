package transport

import "github.com/commy-project/commyfs/model"

// Messages of locks.

//msgp:replace model.Lock with:wireLock
//msgp:replace model.HeldLock with:wireHeldLock
//msgp:replace model.LockRequest with:wireLockRequest
//msgp:replace model.LockAnswer with:wireLockAnswer
//msgp:replace model.LockInfo with:wireLockInfo
//msgp:replace model.LockKind with:uint8
//msgp:replace model.LockState with:uint8
//msgp:replace model.Code with:uint8

// Lock asks for a lock of a variable. Answer: [Locked]; that of a request that waits is followed by another, as a push.
type Lock struct {
	model.Lock `msg:"l"`
	Token      uint64 `msg:"t"` // the client's number of the request, > 0
	Wait       bool   `msg:"w,omitempty"`
	Age        int64  `msg:"a,omitempty"`
}

// Locked answers [Lock] and [CancelLock], and is the push that says what has become of a request that has waited. What others have
// changed before is sent before it.
type Locked struct {
	Token   uint64          `msg:"t"`
	State   model.LockState `msg:"s,omitempty"`
	Code    model.Code      `msg:"e,omitempty"`
	Message string          `msg:"em,omitempty"`
	Lease   uint64          `msg:"le,omitempty"`
}

// Unlock takes a lock, or a part of one, from its owner, when all reports that were sent before are carried out. Answer: [Done].
type Unlock struct {
	model.Lock `msg:"l"`
}

// CancelLock takes back a request that waits. Answer: [Locked], with LockGranted if it came too late.
type CancelLock struct {
	ID    uint64 `msg:"id"` // of the variable
	Token uint64 `msg:"t"`
}

// TestLock asks who is in the way of a lock. Answer: [LockTested].
type TestLock struct {
	model.Lock `msg:"l"`
}

// LockTested answers [TestLock].
type LockTested struct {
	Held bool       `msg:"h,omitempty"`
	By   model.Lock `msg:"b"`
	Near bool       `msg:"n,omitempty"`
}

// ReclaimLocks tells all locks that the client has by a lease, and waits for. It is the first request after [Hello] of a client
// that has any. Answer: [LocksReclaimed].
type ReclaimLocks struct {
	Lease uint64              `msg:"le"`
	Lost  bool                `msg:"x,omitempty"`
	Held  []model.HeldLock    `msg:"h"`
	Waits []model.LockRequest `msg:"w"`
}

// LocksReclaimed answers [ReclaimLocks].
type LocksReclaimed struct {
	Lease uint64             `msg:"le"`
	Lost  []int              `msg:"x"`
	Waits []model.LockAnswer `msg:"w"`
}

// ListLocks asks for the locks of what is at or below a path. Answer: one or more [Locks], the last with More false.
type ListLocks struct {
	Tenant  string `msg:"t"`
	Service string `msg:"s"`
	Name    string `msg:"n"`
}

// Locks is a page of the answer to [ListLocks].
type Locks struct {
	Locks []model.LockInfo `msg:"l"`
	More  bool             `msg:"m"`
}

// LeaseEnded is a push: the client has lost all its locks.
type LeaseEnded struct {
	Lease uint64 `msg:"le"`
}
