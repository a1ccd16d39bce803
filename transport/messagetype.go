package transport

// Message is the closed set of bodies that a frame can carry. Requests are sent by the client and answered by the
// reply named beside them, or by [Error], but for [ChangesConfirmed], which is not answered; pushes have request id 0 and come from the server alone.
type Message interface {
	messageType() Type
	MarshalMsg([]byte) ([]byte, error)
	UnmarshalMsg([]byte) ([]byte, error)
	Msgsize() int
}

// Type numbers a message on the wire. Numbers are never reused.
type Type uint8

// The message types of protocol v2.
const (
	TypeError Type = iota + 1
	TypeDone
	TypeHello
	TypeWelcome
	TypeWatchTree
	TypeTree
	TypeTreeChanged
	TypeWatch
	TypeSnapshot
	TypeVariableChanged
	TypeUnwatch
	TypeReportVariableChanges
	TypeVariableChangesAcknowledged
	TypeGetServiceFilePath
	TypeServiceFilePath
	TypeProbe
	TypeProbed
	TypeReadVariable
	TypeVariableData
	TypeList
	TypeEntries
	TypeGetStatus
	TypeStatus
	TypeCreateKey
	TypeKeyCreated
	TypeListKeys
	TypeKeys
	TypeRevokeKey
	TypeHandover
	TypeServiceFileRotated
	TypeGoodbye
	TypePing
	TypeCacheVariables
	TypeChangesConfirmed
	TypeLock
	TypeLocked
	TypeUnlock
	TypeCancelLock
	TypeTestLock
	TypeLockTested
	TypeReclaimLocks
	TypeLocksReclaimed
	TypeListLocks
	TypeLocks
	TypeLeaseEnded
)
