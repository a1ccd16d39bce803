"""Reads the memory file of a commyfs service. The layout is in docs/memfile.md.

    f = commyfs.MemFile(path)
    slot = f.find("temp")
    while True:
        changes = f.changes()
        print(f.read(slot)[4])
        f.wait(changes)

When LookupError says that the file is superseded, make a new MemFile of the path. Python has no fences: reads are correct on amd64,
and on arm64 only very likely so.

    python3 commyfs.py FILE    one line per variable: slot id version mtime length name value

SPDX-License-Identifier: MIT
"""
import ctypes
import mmap
import os
import platform
import struct
import sys

HEADER = struct.Struct("<8s2I2Q16s2Q2I4Q24x2I")
ENTRY = struct.Struct("<3Qq Q2I Q2I")
FUTEX = {"x86_64": 202, "aarch64": 98}[platform.machine()]

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]


class MemFile:
    def __init__(self, path):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.m = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
            # An mmap does not tell its address, which futex needs. One page for it stays mapped.
            self.header = libc.mmap(None, 4096, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        finally:
            os.close(fd)
        (magic, layout, _, self.generation, self.service, self.store, size, self.dir, entry, self.slots,
         _, _, _, _, _, _) = HEADER.unpack_from(self.m)
        if (magic, layout, entry, size) != (b"COMMYMEM", 1, ENTRY.size, len(self.m)):
            raise ValueError("no memory file")

    def _word(self, offset):
        return struct.unpack_from("<I", self.m, offset)[0]

    def state(self):
        return self._word(128)

    def used(self):
        return min(self._word(132), self.slots)

    def changes(self):
        return self._word(144)

    def wait(self, changes, seconds=1.0):
        """Waits until something may have changed since changes() was that."""
        whole = int(seconds)
        t = struct.pack("<qq", whole, int((seconds - whole) * 1e9))
        libc.syscall(FUTEX, ctypes.c_void_p(self.header + 144), 0, ctypes.c_uint32(changes), t, None, 0)

    def read(self, slot, id=None, tries=1000000):
        """(id, version, mtime, name, value) of a slot, or None if it is free or another variable's."""
        if slot >= self.used():
            return None
        at = self.dir + slot * ENTRY.size
        for _ in range(tries):
            seq, found, version, mtime, off, n, _, name, name_len, _ = ENTRY.unpack_from(self.m, at)
            if seq % 2:
                continue
            value, name = self.m[off:off + n], self.m[name:name + name_len]
            if struct.unpack_from("<Q", self.m, at)[0] != seq:
                continue
            if self.state() == 2:
                raise LookupError("superseded: open the path again")
            return (found, version, mtime, name, value) if found and id in (None, found) else None
        raise TimeoutError("torn")

    def find(self, name):
        """The slot of a variable, or None."""
        for slot in range(self.used()):
            v = self.read(slot)
            if v and v[3] == name.encode():
                return slot
        return None


if __name__ == "__main__":
    f = MemFile(sys.argv[1])
    print("service", f.service, "generation", f.generation, "state", f.state(), "store", f.store[:3].hex())
    for slot in range(f.used()):
        v = f.read(slot)
        if v:
            print(slot, v[0], v[1], v[2], len(v[4]), v[3].decode(), v[4].decode())
