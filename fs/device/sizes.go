package device

import (
	"unsafe"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// More operations.
const (
	opReadlink    = 5
	opGetxattr    = 22
	opListxattr   = 23
	opReaddir     = 28
	opIoctl       = 39
	opReaddirplus = 44
)

// pathMax is how long a link can be.
const pathMax = 4096

// outSizes are the sizes of answers to operations without their payloads, as go-fuse wants memory for them. It does not tell them.
var outSizes = map[uint32]int{
	1:  int(unsafe.Sizeof(fuse.EntryOut{})), // LOOKUP
	3:  int(unsafe.Sizeof(fuse.AttrOut{})),  // GETATTR
	4:  int(unsafe.Sizeof(fuse.AttrOut{})),  // SETATTR
	6:  int(unsafe.Sizeof(fuse.EntryOut{})), // SYMLINK
	8:  int(unsafe.Sizeof(fuse.EntryOut{})), // MKNOD
	9:  int(unsafe.Sizeof(fuse.EntryOut{})), // MKDIR
	13: int(unsafe.Sizeof(fuse.EntryOut{})), // LINK
	14: int(unsafe.Sizeof(fuse.OpenOut{})),  // OPEN
	16: int(unsafe.Sizeof(fuse.WriteOut{})),
	17: int(unsafe.Sizeof(fuse.StatfsOut{})),
	22: int(unsafe.Sizeof(fuse.GetXAttrOut{})),
	23: int(unsafe.Sizeof(fuse.GetXAttrOut{})), // LISTXATTR
	26: int(unsafe.Sizeof(fuse.InitOut{})),
	27: int(unsafe.Sizeof(fuse.OpenOut{})), // OPENDIR
	31: int(unsafe.Sizeof(fuse.LkOut{})),   // GETLK
	35: int(unsafe.Sizeof(fuse.CreateOut{})),
	37: 8, // BMAP
	39: int(unsafe.Sizeof(fuse.IoctlOut{})),
	40: 8, // POLL
	46: int(unsafe.Sizeof(fuse.LseekOut{})),
	47: int(unsafe.Sizeof(fuse.WriteOut{})), // COPY_FILE_RANGE
	52: int(unsafe.Sizeof(fuse.StatxOut{})),
	53: 8, // COPY_FILE_RANGE_64
}
