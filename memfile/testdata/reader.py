"""A reader of commyfs memory files in Python, after docs/memfile.md: one line per variable,
slot id version mtime length name value."""
import mmap
import struct
import sys

HEADER = struct.Struct("<8s2I2Q16s2Q2I4Q24x2I")
ENTRY = struct.Struct("<3Qq Q2I Q2I")


class MemFile:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.m = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        (magic, layout, _, self.generation, self.service, self.store, size, self.dir, entry, self.slots,
         _, _, _, _, self.state, self.used) = HEADER.unpack_from(self.m)
        if (magic, layout, entry, size) != (b"COMMYMEM", 1, ENTRY.size, len(self.m)):
            raise ValueError("no memory file")

    def read(self, slot, id=None, tries=1000000):
        """(id, version, mtime, name, value) of a slot, or None if it is free or another variable's."""
        at = self.dir + slot * ENTRY.size
        for _ in range(tries):
            seq, found, version, mtime, off, n, _, name, name_len, _ = ENTRY.unpack_from(self.m, at)
            if seq % 2:
                continue
            value, name = self.m[off:off + n], self.m[name:name + name_len]
            if struct.unpack_from("<Q", self.m, at)[0] != seq:
                continue
            if struct.unpack_from("<I", self.m, 128)[0] == 2:
                raise LookupError("superseded: open the path again")
            return (found, version, mtime, name, value) if found and id in (None, found) else None
        raise TimeoutError("torn")


if __name__ == "__main__":
    f = MemFile(sys.argv[1])
    print("service", f.service, "generation", f.generation, "state", f.state, "store", f.store[:3].hex())
    for slot in range(f.used):
        v = f.read(slot)
        if v:
            print(slot, v[0], v[1], v[2], len(v[4]), v[3].decode(), v[4].decode())
