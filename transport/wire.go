package transport

import "github.com/commy-project/commyfs/model"

// How the types of the domain look on the wire. Each is convertible to its model type: the compiler keeps them in step, and
// encoding and decoding convert pointers, which costs nothing.

//msgp:replace model.ServerInfo with:wireServerInfo
//msgp:replace model.Limits with:wireLimits
//msgp:replace model.Tenant with:wireTenant
//msgp:replace model.Service with:wireService
//msgp:replace model.TreeChange with:wireTreeChange
//msgp:replace model.Dir with:wireDir
//msgp:replace model.Variable with:wireVariable
//msgp:replace model.Event with:wireEvent
//msgp:replace model.RangeData with:wireRangeData
//msgp:replace model.Change with:wireChange
//msgp:replace model.Result with:wireResult
//msgp:replace model.Refusal with:wireRefusal
//msgp:replace model.Entry with:wireEntry
//msgp:replace model.Layout with:wireLayout
//msgp:replace model.SessionInfo with:wireSessionInfo
//msgp:replace model.KeyInfo with:wireKeyInfo
//msgp:replace model.BareInfo with:wireBareInfo
//msgp:replace model.MemoryInfo with:wireMemoryInfo
//msgp:replace model.Lock with:wireLock
//msgp:replace model.HeldLock with:wireHeldLock
//msgp:replace model.LockRequest with:wireLockRequest
//msgp:replace model.LockAnswer with:wireLockAnswer
//msgp:replace model.LockInfo with:wireLockInfo
//msgp:replace model.LockKind with:uint8
//msgp:replace model.LockState with:uint8
//msgp:replace model.Code with:uint8
//msgp:replace model.Rights with:uint32
//msgp:replace model.Mode with:uint16
//msgp:replace model.EventKind with:uint8
//msgp:replace model.Op with:uint8
//msgp:replace model.Type with:uint8

type wireServerInfo struct {
	Pid     int    `msg:"pid"`
	Version string `msg:"v"`
	Mode    string `msg:"mode"`
	URL     string `msg:"url"`
	Host    string `msg:"h"`
	Started int64  `msg:"t"`
}

type wireLimits struct {
	Value     int64 `msg:"v"`
	Name      int   `msg:"n"`
	Component int   `msg:"c"`
	Free      int64 `msg:"f"`
	Total     int64 `msg:"t"`
}

type wireTenant struct {
	ID     uint64       `msg:"id"`
	Name   string       `msg:"n"`
	MTime  int64        `msg:"mt"`
	Rights model.Rights `msg:"r"`
	Mode   model.Mode   `msg:"mo"`
}

type wireService struct {
	ID     uint64     `msg:"id"`
	Tenant uint64     `msg:"t"`
	Name   string     `msg:"n"`
	MTime  int64      `msg:"mt"`
	Mode   model.Mode `msg:"mo"`
	Bare   int64      `msg:"b,omitempty"`
}

type wireTreeChange struct {
	Tenant  model.Tenant  `msg:"t"`
	Service model.Service `msg:"s"`
	Gone    bool          `msg:"g"`
	Own     bool          `msg:"o"`
	Time    int64         `msg:"tm"`
}

type wireDir struct {
	ID    uint64     `msg:"id"`
	Name  string     `msg:"n"`
	MTime int64      `msg:"mt"`
	Mode  model.Mode `msg:"mo"`
}

type wireVariable struct {
	ID      uint64        `msg:"id"`
	Name    string        `msg:"n"`
	Version uint64        `msg:"v"`
	MTime   int64         `msg:"mt"`
	Mode    model.Mode    `msg:"mo"`
	Writer  string        `msg:"w"`
	Size    int64         `msg:"z"`
	Slot    uint32        `msg:"sl"`
	Data    []byte        `msg:"d,zerocopy"`
	Layout  *model.Layout `msg:"ly,omitempty"`
}

type wireLayout struct {
	Off       int64      `msg:"o"`
	Size      int64      `msg:"z"`
	Type      model.Type `msg:"t"`
	BigEndian bool       `msg:"b"`
}

type wireEvent struct {
	Kind    model.EventKind   `msg:"k"`
	ID      uint64            `msg:"id"`
	Name    string            `msg:"n,omitempty"`
	OldName string            `msg:"on,omitempty"`
	Other   uint64            `msg:"ot,omitempty"`
	Above   uint64            `msg:"ab,omitempty"`
	Moved   uint64            `msg:"mv,omitempty"`
	Version uint64            `msg:"v,omitempty"`
	MTime   int64             `msg:"mt,omitempty"`
	Mode    model.Mode        `msg:"mo,omitempty"`
	Time    int64             `msg:"tm,omitempty"`
	Writer  string            `msg:"w,omitempty"`
	Size    int64             `msg:"z,omitempty"`
	Slot    uint32            `msg:"sl,omitempty"`
	Created bool              `msg:"cr,omitempty"`
	Base    uint64            `msg:"b,omitempty"`
	Ranges  []model.RangeData `msg:"rg,omitempty"`
	Data    []byte            `msg:"d,omitempty,zerocopy"`
	Echo    uint64            `msg:"e,omitempty"`
	Own     bool              `msg:"o,omitempty"`
}

type wireRangeData struct {
	Off  int64  `msg:"o"`
	Data []byte `msg:"d,zerocopy"`
}

type wireChange struct {
	Op      model.Op `msg:"op"`
	ID      uint64   `msg:"id"`
	In      uint64   `msg:"in,omitempty"`
	Tenant  string   `msg:"t,omitempty"`
	Service string   `msg:"s,omitempty"`
	Name    string   `msg:"n,omitempty"`

	ToTenant  string `msg:"tt,omitempty"`
	ToService string `msg:"ts,omitempty"`
	ToName    string `msg:"tn,omitempty"`
	NoReplace bool   `msg:"nr,omitempty"`

	Base   uint64            `msg:"b,omitempty"`
	Ranges []model.RangeData `msg:"rg,omitempty"`
	Data   []byte            `msg:"d,omitempty,zerocopy"`
	Size   int64             `msg:"z,omitempty"`

	Layout  *model.Layout `msg:"ly,omitempty"`
	Overlap bool          `msg:"ov,omitempty"`

	Whole bool `msg:"wh,omitempty"`

	Create     bool       `msg:"cr,omitempty"`
	Parents    bool       `msg:"pa,omitempty"`
	NewID      uint64     `msg:"ni,omitempty"`
	HasVersion bool       `msg:"hv,omitempty"`
	IfVersion  uint64     `msg:"iv,omitempty"`
	NewMode    model.Mode `msg:"nm,omitempty"`
	Mode       model.Mode `msg:"mo,omitempty"`
	HasMTime   bool       `msg:"ht,omitempty"`
	MTime      int64      `msg:"mt,omitempty"`
	Expect     uint64     `msg:"x,omitempty"`
	ToExpect   uint64     `msg:"tx,omitempty"`
	Within     uint64     `msg:"wi,omitempty"`
	ToWithin   uint64     `msg:"tw,omitempty"`
	Lease      uint64     `msg:"le,omitempty"`
}

type wireLock struct {
	ID        uint64         `msg:"id"`
	In        uint64         `msg:"in,omitempty"`
	Kind      model.LockKind `msg:"k,omitempty"`
	Owner     uint64         `msg:"o"`
	Exclusive bool           `msg:"x,omitempty"`
	Described bool           `msg:"d,omitempty"`
	Start     uint64         `msg:"s,omitempty"`
	End       uint64         `msg:"e,omitempty"`
	Pid       int            `msg:"p,omitempty"`
	Program   string         `msg:"pr,omitempty"`
}

type wireHeldLock struct {
	model.Lock `msg:"l"`
	Leaving    bool `msg:"g,omitempty"`
}

type wireLockRequest struct {
	model.Lock `msg:"l"`
	Token      uint64 `msg:"t"`
	Wait       bool   `msg:"w,omitempty"`
	Age        int64  `msg:"a,omitempty"`
}

type wireLockAnswer struct {
	Token   uint64          `msg:"t"`
	State   model.LockState `msg:"s,omitempty"`
	Code    model.Code      `msg:"e,omitempty"`
	Message string          `msg:"em,omitempty"`
	Lease   uint64          `msg:"le,omitempty"`
}

type wireLockInfo struct {
	ID        uint64         `msg:"id"`
	Tenant    string         `msg:"t,omitempty"`
	Service   string         `msg:"s,omitempty"`
	Name      string         `msg:"n,omitempty"`
	Kind      model.LockKind `msg:"k,omitempty"`
	Exclusive bool           `msg:"x,omitempty"`
	Start     uint64         `msg:"a,omitempty"`
	End       uint64         `msg:"e,omitempty"`
	Waits     bool           `msg:"w,omitempty"`
	Since     int64          `msg:"si"`
	Host      string         `msg:"h,omitempty"`
	Pid       int            `msg:"p,omitempty"`
	Program   string         `msg:"pr,omitempty"`
	User      string         `msg:"u,omitempty"`
	Mount     string         `msg:"m,omitempty"`
	Away      int64          `msg:"aw,omitempty"`
}

type wireResult struct {
	ID        uint64 `msg:"id"`
	Version   uint64 `msg:"v"`
	MTime     int64  `msg:"mt"`
	Size      int64  `msg:"z"`
	Unchanged bool   `msg:"u"`
	Number    string `msg:"n,omitempty"`
}

type wireRefusal struct {
	Index   int        `msg:"i"`
	Code    model.Code `msg:"e"`
	Message string     `msg:"em"`
}

type wireEntry struct {
	Tenant  string        `msg:"t"`
	Service string        `msg:"s"`
	Name    string        `msg:"n"`
	Dir     bool          `msg:"d"`
	ID      uint64        `msg:"id"`
	Version uint64        `msg:"v"`
	MTime   int64         `msg:"mt"`
	Mode    model.Mode    `msg:"mo"`
	Writer  string        `msg:"w"`
	Size    int64         `msg:"z"`
	Bare    int64         `msg:"b,omitempty"`
	Layout  *model.Layout `msg:"ly,omitempty"`
}

type wireSessionInfo struct {
	Program   string `msg:"p"`
	Pid       int    `msg:"pid"`
	Host      string `msg:"h"`
	Mount     string `msg:"m"`
	User      string `msg:"u"`
	Remote    string `msg:"ra"`
	Connected int64  `msg:"t"`
}

type wireKeyInfo struct {
	Name    string       `msg:"n"`
	Tenants []string     `msg:"t"`
	Rights  model.Rights `msg:"r"`
	Created int64        `msg:"c"`
}

type wireMemoryInfo struct {
	Tenant     string `msg:"t"`
	Service    string `msg:"s"`
	Size       int64  `msg:"z"`
	Generation uint64 `msg:"g"`
	Mapped     int    `msg:"m"`
	Remote     int    `msg:"r"`
	Unmapped   int    `msg:"u"`
}

type wireBareInfo struct {
	Tenant    string `msg:"t"`
	Service   string `msg:"s"`
	Size      int64  `msg:"z"`
	Variables int    `msg:"v"`
	NoFile    bool   `msg:"n"`
	Writable  bool   `msg:"w"`
	Interval  int64  `msg:"i"`
	Cost      int64  `msg:"c"`
	Found     uint64 `msg:"f"`
}
