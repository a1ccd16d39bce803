package bare

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The bell is a file beside that of a service, for programs that tell of their stores. All numbers are little-endian.
//
//	 0  8  magic COMMYBEL        128  4  bell, a futex: programs add 1
//	 8  4  version, 1            132  4  listening: not 0 while the server may be asleep at the bell
//	12  4  size of this header   136  4  changes, a futex: the server adds 1
//	16  8  service               140  4  state, 1: live, 3: the server has left
//	24 16  store
//	40  8  size of the file
//	48  8  where the bitmap is
//	56  8  size of the bitmap: a bit for each page of the largest file
//
// A program stores, sets the bits of the pages, adds 1 to the bell, and wakes the server if it listens.
const (
	bellMagic   = "COMMYBEL"
	bellVersion = 1
	bellHeader  = PageSize
	bitmapSize  = MaxSize / PageSize / 8
	bellSize    = bellHeader + bitmapSize

	offSize      = 40
	offBell      = 128
	offListening = 132
	offChanges   = 136
	offState     = 140

	stateLive   = 1
	stateClosed = 3
)

// The state is a file that is the server's alone.
//
//	 0  8  magic COMMYBST         56  8  applied
//	 8  8  version, 1             64  8  synced
//	16  8  service
//	24 16  store
//	40 16  the machine's boot id     72  8  kept
//	                                 80  1  not 0: the records hold, see records
//
// The boot id is 0 until the owner has put what a power cut may have taken: who dies in between leaves that to the next.
// kept is there before what was lost is made anew, until the owner has put what it knows of it: who dies in between must not
// leave zeroes that look like stores.
const (
	stateMagic   = "COMMYBST"
	stateVersion = 1
	stateSize    = 80
	offBoot      = 40
	offApplied   = 56
	offSynced    = 64
	offKept      = 72
	offRecords   = stateSize
)

var bootID = sync.OnceValue(func() (id [16]byte) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id // no boot is the same as any other
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(b)), "-", ""))
	if err == nil && len(raw) == len(id) {
		copy(id[:], raw)
	}
	return id
})

func encodeState(service uint64, store [16]byte, s State) []byte {
	b := make([]byte, stateSize)
	copy(b, stateMagic)
	binary.LittleEndian.PutUint64(b[8:], stateVersion)
	binary.LittleEndian.PutUint64(b[16:], service)
	copy(b[24:], store[:])
	if s.SameBoot {
		boot := bootID()
		copy(b[offBoot:], boot[:])
	}
	binary.LittleEndian.PutUint64(b[offApplied:], uint64(s.Applied))
	binary.LittleEndian.PutUint64(b[offSynced:], uint64(s.Synced))
	binary.LittleEndian.PutUint64(b[offKept:], uint64(s.Kept))
	return b
}

// decodeState trusts nothing that is not as it should be: then nothing is known to be in the file.
func decodeState(b []byte, service uint64, store [16]byte) (s State) {
	boot := bootID()
	if len(b) < stateSize || string(b[:8]) != stateMagic || binary.LittleEndian.Uint64(b[8:]) != stateVersion ||
		binary.LittleEndian.Uint64(b[16:]) != service || string(b[24:40]) != string(store[:]) {
		return State{Kept: MaxSize}
	}
	s.Applied = int64(binary.LittleEndian.Uint64(b[offApplied:]))
	s.Synced = int64(binary.LittleEndian.Uint64(b[offSynced:]))
	s.SameBoot = boot != [16]byte{} && string(b[offBoot:offBoot+16]) == string(boot[:])
	s.Kept = int64(binary.LittleEndian.Uint64(b[offKept:]))
	if s.Applied < 0 || s.Synced < 0 || s.Synced > s.Applied || s.Kept < 0 || s.Kept > MaxSize {
		return State{Kept: MaxSize}
	}
	return s
}

func encodeBell(service uint64, store [16]byte, size int64) []byte {
	b := make([]byte, bellHeader)
	copy(b, bellMagic)
	binary.LittleEndian.PutUint32(b[8:], bellVersion)
	binary.LittleEndian.PutUint32(b[12:], bellHeader)
	binary.LittleEndian.PutUint64(b[16:], service)
	copy(b[24:], store[:])
	binary.LittleEndian.PutUint64(b[offSize:], uint64(size))
	binary.LittleEndian.PutUint64(b[48:], bellHeader)
	binary.LittleEndian.PutUint64(b[56:], bitmapSize)
	binary.LittleEndian.PutUint32(b[offState:], stateLive)
	return b
}

const (
	futexWait = 0 // shared: the waiters are other processes
	futexWake = 1
	everybody = 1<<31 - 1
)

// wakeAll wakes who waits at a futex.
func wakeAll(futex *uint32) {
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(futex)), futexWake, everybody, 0, 0, 0)
}
