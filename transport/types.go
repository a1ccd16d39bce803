package transport

import (
	"errors"
)

func known(t Type) bool { return int(t) < len(constructors) && constructors[t] != nil }

// newMessage returns an empty message of type t, nil if the type is not known.
func newMessage(t Type) Message {
	if known(t) {
		return constructors[t]()
	}
	return nil
}

var constructors = [...]func() Message{
	TypeError:                       func() Message { return new(Error) },
	TypeDone:                        func() Message { return new(Done) },
	TypeHello:                       func() Message { return new(Hello) },
	TypeWelcome:                     func() Message { return new(Welcome) },
	TypeWatchTree:                   func() Message { return new(WatchTree) },
	TypeTree:                        func() Message { return new(Tree) },
	TypeTreeChanged:                 func() Message { return new(TreeChanged) },
	TypeWatch:                       func() Message { return new(Watch) },
	TypeSnapshot:                    func() Message { return new(Snapshot) },
	TypeVariableChanged:             func() Message { return new(VariableChanged) },
	TypeUnwatch:                     func() Message { return new(Unwatch) },
	TypeReportVariableChanges:       func() Message { return new(ReportVariableChanges) },
	TypeVariableChangesAcknowledged: func() Message { return new(VariableChangesAcknowledged) },
	TypeGetServiceFilePath:          func() Message { return new(GetServiceFilePath) },
	TypeServiceFilePath:             func() Message { return new(ServiceFilePath) },
	TypeProbe:                       func() Message { return new(Probe) },
	TypeProbed:                      func() Message { return new(Probed) },
	TypeReadVariable:                func() Message { return new(ReadVariable) },
	TypeVariableData:                func() Message { return new(VariableData) },
	TypeList:                        func() Message { return new(List) },
	TypeEntries:                     func() Message { return new(Entries) },
	TypeGetStatus:                   func() Message { return new(GetStatus) },
	TypeStatus:                      func() Message { return new(Status) },
	TypeCreateKey:                   func() Message { return new(CreateKey) },
	TypeKeyCreated:                  func() Message { return new(KeyCreated) },
	TypeListKeys:                    func() Message { return new(ListKeys) },
	TypeKeys:                        func() Message { return new(Keys) },
	TypeRevokeKey:                   func() Message { return new(RevokeKey) },
	TypeHandover:                    func() Message { return new(Handover) },
	TypeServiceFileRotated:          func() Message { return new(ServiceFileRotated) },
	TypeGoodbye:                     func() Message { return new(Goodbye) },
	TypePing:                        func() Message { return new(Ping) },
	TypeCacheVariables:              func() Message { return new(CacheVariables) },
	TypeChangesConfirmed:            func() Message { return new(ChangesConfirmed) },
	TypeLock:                        func() Message { return new(Lock) },
	TypeLocked:                      func() Message { return new(Locked) },
	TypeUnlock:                      func() Message { return new(Unlock) },
	TypeCancelLock:                  func() Message { return new(CancelLock) },
	TypeTestLock:                    func() Message { return new(TestLock) },
	TypeLockTested:                  func() Message { return new(LockTested) },
	TypeReclaimLocks:                func() Message { return new(ReclaimLocks) },
	TypeLocksReclaimed:              func() Message { return new(LocksReclaimed) },
	TypeListLocks:                   func() Message { return new(ListLocks) },
	TypeLocks:                       func() Message { return new(Locks) },
	TypeLeaseEnded:                  func() Message { return new(LeaseEnded) },
}

// holdsBytes says whether messages of type t have []byte fields, which alias the buffer they are decoded from.
func holdsBytes(t Type) bool {
	switch t {
	case TypeHello, TypeSnapshot, TypeVariableChanged, TypeReportVariableChanges, TypeVariableData:
		return true
	}
	return false
}

func (*Error) messageType() Type                       { return TypeError }
func (*Done) messageType() Type                        { return TypeDone }
func (*Hello) messageType() Type                       { return TypeHello }
func (*Welcome) messageType() Type                     { return TypeWelcome }
func (*WatchTree) messageType() Type                   { return TypeWatchTree }
func (*Tree) messageType() Type                        { return TypeTree }
func (*TreeChanged) messageType() Type                 { return TypeTreeChanged }
func (*Watch) messageType() Type                       { return TypeWatch }
func (*Snapshot) messageType() Type                    { return TypeSnapshot }
func (*VariableChanged) messageType() Type             { return TypeVariableChanged }
func (*Unwatch) messageType() Type                     { return TypeUnwatch }
func (*ReportVariableChanges) messageType() Type       { return TypeReportVariableChanges }
func (*VariableChangesAcknowledged) messageType() Type { return TypeVariableChangesAcknowledged }
func (*GetServiceFilePath) messageType() Type          { return TypeGetServiceFilePath }
func (*ServiceFilePath) messageType() Type             { return TypeServiceFilePath }
func (*Probe) messageType() Type                       { return TypeProbe }
func (*Probed) messageType() Type                      { return TypeProbed }
func (*ReadVariable) messageType() Type                { return TypeReadVariable }
func (*VariableData) messageType() Type                { return TypeVariableData }
func (*List) messageType() Type                        { return TypeList }
func (*Entries) messageType() Type                     { return TypeEntries }
func (*GetStatus) messageType() Type                   { return TypeGetStatus }
func (*Status) messageType() Type                      { return TypeStatus }
func (*CreateKey) messageType() Type                   { return TypeCreateKey }
func (*KeyCreated) messageType() Type                  { return TypeKeyCreated }
func (*ListKeys) messageType() Type                    { return TypeListKeys }
func (*Keys) messageType() Type                        { return TypeKeys }
func (*RevokeKey) messageType() Type                   { return TypeRevokeKey }
func (*Handover) messageType() Type                    { return TypeHandover }
func (*ServiceFileRotated) messageType() Type          { return TypeServiceFileRotated }
func (*Goodbye) messageType() Type                     { return TypeGoodbye }
func (*Ping) messageType() Type                        { return TypePing }
func (*CacheVariables) messageType() Type              { return TypeCacheVariables }
func (*ChangesConfirmed) messageType() Type            { return TypeChangesConfirmed }
func (*Lock) messageType() Type                        { return TypeLock }
func (*Locked) messageType() Type                      { return TypeLocked }
func (*Unlock) messageType() Type                      { return TypeUnlock }
func (*CancelLock) messageType() Type                  { return TypeCancelLock }
func (*TestLock) messageType() Type                    { return TypeTestLock }
func (*LockTested) messageType() Type                  { return TypeLockTested }
func (*ReclaimLocks) messageType() Type                { return TypeReclaimLocks }
func (*LocksReclaimed) messageType() Type              { return TypeLocksReclaimed }
func (*ListLocks) messageType() Type                   { return TypeListLocks }
func (*Locks) messageType() Type                       { return TypeLocks }
func (*LeaseEnded) messageType() Type                  { return TypeLeaseEnded }

var errUnknown = errors.New("messages that were not decoded cannot be encoded")

func (u *Unknown) messageType() Type   { return u.Type }
func (o *Oversized) messageType() Type { return o.Type }

// MarshalMsg refuses: the body was not kept.
func (u *Unknown) MarshalMsg(b []byte) ([]byte, error) { return b, errUnknown }

// UnmarshalMsg refuses: the body has no meaning here.
func (u *Unknown) UnmarshalMsg(b []byte) ([]byte, error) { return b, errUnknown }

// Msgsize is 0.
func (u *Unknown) Msgsize() int { return 0 }

// MarshalMsg refuses: the body was not kept.
func (o *Oversized) MarshalMsg(b []byte) ([]byte, error) { return b, errUnknown }

// UnmarshalMsg refuses: the body is not to be decoded.
func (o *Oversized) UnmarshalMsg(b []byte) ([]byte, error) { return b, errUnknown }

// Msgsize is 0.
func (o *Oversized) Msgsize() int { return 0 }
