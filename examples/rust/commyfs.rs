//! Reads the memory file of a commyfs service. The layout is in docs/memfile.md; see watch.rs for a whole program.
//!
//! Use this file as a module or as the `src/lib.rs` of a crate: it needs only std, Linux and a 64-bit little-endian machine.
//!
//! ```no_run
//! # fn main() -> commyfs::Result<()> {
//! use commyfs::{Access, MemoryFile};
//! let mut file = MemoryFile::open("/run/user/1000/commyfs/service_3.mem", Access::Mapped)?;
//! let mut temp = file.find("temp")?;
//! loop {
//!     println!("{}", file.load_f64(&mut temp)?);
//!     file.wait(None)?;
//! }
//! # }
//! ```
//!
//! When the server puts another file in the place of the one that is open, or another server does, the methods go on with that by
//! themselves, and a variable is found in it by its id, then by its name. Nothing in a file is trusted.
//
// SPDX-License-Identifier: MIT
#![allow(dead_code)] // as a module: who uses it needs a part of it

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{fence, AtomicU64, AtomicU8, Ordering};
use std::time::{Duration, Instant};

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!("commyfs is for 64-bit little-endian Linux");

/// What is used of the C library.
mod sys {
    use std::os::raw::{c_int, c_long, c_void};
    extern "C" {
        pub fn mmap(addr: *mut c_void, len: usize, prot: c_int, flags: c_int, fd: c_int, off: i64) -> *mut c_void;
        pub fn munmap(addr: *mut c_void, len: usize) -> c_int;
        pub fn syscall(number: c_long, ...) -> c_long;
    }
    #[repr(C)]
    pub struct Timespec {
        pub sec: i64,
        pub nsec: i64,
    }
    pub const PROT_READ: c_int = 1;
    pub const MAP_SHARED: c_int = 1;
    pub const FUTEX_WAIT: c_int = 0;
    pub const O_NONBLOCK: c_int = 0o4000;
    #[cfg(target_arch = "x86_64")]
    pub const O_NOFOLLOW: c_int = 0o400000;
    #[cfg(target_arch = "aarch64")]
    pub const O_NOFOLLOW: c_int = 0o100000;
    #[cfg(target_arch = "x86_64")]
    pub const FUTEX: c_long = 202;
    #[cfg(target_arch = "aarch64")]
    pub const FUTEX: c_long = 98;
    pub const EFAULT: i32 = 14;
    pub const ETIMEDOUT: i32 = 110;
}

pub const MAX_NAME: usize = 4096;
pub const MAX_VALUE: usize = 16 << 20;
const MAX_SLOTS: u32 = 1 << 26;
const HEADER: usize = 4096;

const SUPERSEDED: u32 = 2;

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// At memory speed. Another process of the same user that cuts the file short raises SIGBUS.
    Mapped,
    /// With pread(2), at some system calls for each value. A file that is cut short is an error.
    Pread,
}

#[derive(Debug)]
pub enum Error {
    /// There is no such variable.
    NoEntry,
    /// The server keeps no such file any more: ask it for the path again.
    Stale,
    /// The entry does not hold still: its writer was killed, or stands still, in the middle of a write.
    Torn,
    /// The value has this size, not the one asked for.
    Size(usize),
    /// The file is corrupt, was cut short, or is no memory file.
    Corrupt,
    Io(io::Error),
}

pub type Result<T> = std::result::Result<T, Error>;

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoEntry => write!(f, "no such variable in the memory file"),
            Error::Stale => write!(f, "the memory file is superseded, and there is no other"),
            Error::Torn => write!(f, "the entry does not hold still"),
            Error::Size(n) => write!(f, "the value has {} bytes", n),
            Error::Corrupt => write!(f, "the memory file is corrupt"),
            Error::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => Error::Corrupt, // it was cut short
            _ => Error::Io(e),
        }
    }
}

/// A variable, and where it was found last.
#[derive(Clone, Debug)]
pub struct Variable {
    name: Vec<u8>,
    id: u64, // 0: not found yet
    slot: u32,
    generation: u64,
    missing: Option<u64>, // it was not in the file of this generation when its names were as of then
}

impl Variable {
    /// A variable that may not exist yet: it is looked for when it is read.
    pub fn new(name: impl AsRef<[u8]>) -> Self {
        Variable { name: name.as_ref().to_vec(), id: 0, slot: 0, generation: 0, missing: None }
    }
    pub fn name(&self) -> &[u8] {
        &self.name
    }
    pub fn id(&self) -> u64 {
        self.id
    }
    pub fn slot(&self) -> u32 {
        self.slot
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub version: u64,
    /// Unix nanoseconds.
    pub mtime: i64,
    pub size: usize,
}

/// A shared mapping of the beginning of a file, which is only read, atomically: others change it at the same time.
struct Mapping {
    start: *const u8,
    len: usize,
}

// SAFETY: it is memory that everybody may read from any thread, until it is dropped.
unsafe impl Send for Mapping {}
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &File, len: usize) -> io::Result<Self> {
        use std::os::unix::io::AsRawFd;
        // SAFETY: a new mapping overlaps no other memory.
        let p = unsafe { sys::mmap(std::ptr::null_mut(), len, sys::PROT_READ, sys::MAP_SHARED, file.as_raw_fd(), 0) };
        if p as isize == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { start: p as *const u8, len })
    }

    /// Whole words are as fast as memcpy for small values.
    fn copy(&self, off: u64, to: &mut [u8]) {
        assert!(off <= self.len as u64 && to.len() as u64 <= self.len as u64 - off);
        let head = (to.len() as u64).min(off.wrapping_neg() & 7) as usize;
        let (head, rest) = to.split_at_mut(head);
        // SAFETY: all of it lies inside the mapping, and words are aligned, as the mapping is.
        unsafe {
            let mut from = self.start.add(off as usize);
            let bytes = |to: &mut [u8], from: &mut *const u8| {
                for b in to {
                    *b = (*(*from as *const AtomicU8)).load(Ordering::Relaxed);
                    *from = from.add(1);
                }
            };
            bytes(head, &mut from);
            let mut words = rest.chunks_exact_mut(8);
            for w in &mut words {
                w.copy_from_slice(&(*(from as *const AtomicU64)).load(Ordering::Relaxed).to_ne_bytes());
                from = from.add(8);
            }
            bytes(words.into_remainder(), &mut from);
        }
    }

    /// Sleeps until the word at off is not value, or the time is over. Only the kernel looks at the word.
    fn sleep(&self, off: usize, value: u32, time: Duration) -> io::Result<()> {
        assert!(off + 4 <= self.len);
        let t = sys::Timespec { sec: time.as_secs() as i64, nsec: time.subsec_nanos() as i64 };
        let none = std::ptr::null::<u32>();
        // SAFETY: the arguments are what futex(2) takes for FUTEX_WAIT.
        match unsafe { sys::syscall(sys::FUTEX, self.start.add(off), sys::FUTEX_WAIT, value, &t, none, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference to it.
        unsafe { sys::munmap(self.start as *mut _, self.len) };
    }
}

/// An entry of the directory, and its name if that was asked for.
struct Entry {
    id: u64,
    meta: Meta,
}

/// What a look at a slot is to copy.
enum Want<'a> {
    /// The name, if it has this length.
    Name(Option<usize>, &'a mut Vec<u8>),
    /// The value, if it fits into the slice; the other way is to have the vector grow.
    Slice(&'a mut [u8]),
    Value(&'a mut Vec<u8>),
    Nothing,
}

/// The wait for an entry to hold still: a write takes microseconds, so after 100 ms its writer is dead or stopped.
#[derive(Default)]
struct Patience {
    tries: u32,
    since: Option<Instant>,
}

impl Patience {
    fn again(&mut self) -> bool {
        self.tries += 1;
        match self.tries {
            0..=31 => {
                std::hint::spin_loop();
                return true;
            }
            32..=255 => std::thread::yield_now(),
            _ => std::thread::sleep(Duration::from_micros(50)),
        }
        self.since.get_or_insert_with(Instant::now).elapsed() < Duration::from_millis(100)
    }
}

/// The memory file of a service.
pub struct MemoryFile {
    path: PathBuf,
    file: Option<File>, // if it is read with pread
    map: Mapping,
    inode: (u64, u64),
    generation: u64,
    service: u64,
    store: [u8; 16],
    dir: u64,
    slots: u32,
    names: (u64, u64),
    values: (u64, u64),
    seen: u32,   // the number of changes that wait has told of
    moved: bool, // to another file, of which wait has not told
}

fn within(off: u64, n: u64, (from, size): (u64, u64)) -> bool {
    off >= from && off - from <= size && n <= size - (off - from)
}

fn u32_at(b: &[u8], off: usize) -> u32 {
    u32::from_le_bytes([b[off], b[off + 1], b[off + 2], b[off + 3]])
}

fn u64_at(b: &[u8], off: usize) -> u64 {
    u32_at(b, off) as u64 | (u32_at(b, off + 4) as u64) << 32
}

impl MemoryFile {
    /// Opens the memory file at path, which is the server's answer to GetServiceFilePath.
    pub fn open(path: impl AsRef<Path>, access: Access) -> Result<Self> {
        // No link, and no FIFO or device, which could block.
        let file = OpenOptions::new().read(true).custom_flags(sys::O_NOFOLLOW | sys::O_NONBLOCK).open(&path)?;
        let st = file.metadata()?;
        if !st.is_file() {
            return Err(Error::Corrupt);
        }
        let mut h = [0; HEADER];
        file.read_exact_at(&mut h, 0)?;
        let (dir, slots) = (u64_at(&h, 56), u32_at(&h, 68));
        let (names, values) = ((u64_at(&h, 72), u64_at(&h, 80)), (u64_at(&h, 88), u64_at(&h, 96)));
        let body = (HEADER as u64, st.len() - HEADER as u64);
        // Everything that is relied upon later is checked here.
        if &h[..8] != b"COMMYMEM"
            || (u32_at(&h, 8), u32_at(&h, 12), u32_at(&h, 64)) != (1, HEADER as u32, 64)
            || u64_at(&h, 48) != st.len()
            || slots > MAX_SLOTS
            || dir % 64 != 0
            || !within(dir, slots as u64 * 64, body)
            || !within(names.0, names.1, body)
            || !within(values.0, values.1, body)
        {
            return Err(Error::Corrupt);
        }
        let pread = access == Access::Pread;
        let map = Mapping::new(&file, if pread { HEADER } else { st.len() as usize })?;
        let mut store = [0; 16];
        store.copy_from_slice(&h[32..48]);
        let mut f = MemoryFile {
            path: path.as_ref().to_path_buf(),
            file: if pread { Some(file) } else { None },
            map,
            inode: (st.dev(), st.ino()),
            generation: u64_at(&h, 16),
            service: u64_at(&h, 24),
            store,
            dir,
            slots,
            names,
            values,
            seen: 0,
            moved: false,
        };
        f.seen = f.u32(144)?;
        Ok(f)
    }

    fn get(&self, off: u64, to: &mut [u8]) -> Result<()> {
        match &self.file {
            Some(f) => Ok(f.read_exact_at(to, off)?),
            None => {
                self.map.copy(off, to);
                Ok(())
            }
        }
    }

    fn u32(&self, off: u64) -> Result<u32> {
        let mut b = [0; 4];
        self.get(off, &mut b)?;
        fence(Ordering::Acquire);
        Ok(u32::from_le_bytes(b))
    }

    fn u64(&self, off: u64) -> Result<u64> {
        let mut b = [0; 8];
        self.get(off, &mut b)?;
        fence(Ordering::Acquire);
        Ok(u64::from_le_bytes(b))
    }

    /// How many entries have been written.
    fn used(&self) -> Result<u32> {
        Ok(self.u32(132)?.min(self.slots))
    }

    /// Checks an entry and copies what is wanted, all of which counts only if the sequence is the same after that.
    fn take(&self, e: &[u8; 64], id: u64, want: &mut Want) -> Result<Entry> {
        let entry = Entry {
            id: u64_at(e, 8),
            meta: Meta { version: u64_at(e, 16), mtime: u64_at(e, 24) as i64, size: u32_at(e, 40) as usize },
        };
        let (value, capacity, name, name_len) = (u64_at(e, 32), u32_at(e, 44) as usize, u64_at(e, 48), u32_at(e, 56) as usize);
        let size = entry.meta.size;
        if entry.id == 0 || (id != 0 && id != entry.id) {
            return Err(Error::NoEntry);
        }
        if size > capacity || size > MAX_VALUE || !within(value, capacity as u64, self.values) {
            return Err(Error::Corrupt);
        }
        if name_len > MAX_NAME || !within(name, name_len as u64, self.names) {
            return Err(Error::Corrupt);
        }
        match want {
            Want::Nothing => {}
            Want::Name(Some(len), _) if *len != name_len => return Err(Error::NoEntry),
            Want::Name(_, into) => {
                into.resize(name_len, 0);
                self.get(name, into)?;
            }
            Want::Slice(into) if into.len() == size => self.get(value, into)?,
            Want::Slice(_) => return Err(Error::Size(size)),
            Want::Value(into) => {
                into.resize(size, 0);
                self.get(value, into)?;
            }
        }
        Ok(entry)
    }

    /// One consistent look at a slot, which is to hold the variable id, or any if that is 0.
    fn look(&self, slot: u32, id: u64, want: &mut Want, patience: &mut Patience) -> Result<Entry> {
        let at = self.dir + slot as u64 * 64;
        let mut found = Err(Error::NoEntry);
        while slot < self.used()? {
            let seq = self.u64(at)?;
            if seq & 1 == 0 {
                let mut e = [0; 64];
                self.get(at, &mut e)?;
                found = self.take(&e, id, want);
                fence(Ordering::Acquire);
                if self.u64(at)? == seq {
                    break;
                }
            }
            if !patience.again() {
                return Err(Error::Torn);
            }
        }
        match self.u32(128)? {
            SUPERSEDED => Err(Error::Stale),
            1 | 3 => found,
            _ => Err(Error::Corrupt),
        }
    }

    /// Finds the slot of an id, or of the name if it is 0.
    fn scan(&self, id: u64, v: &mut Variable) -> Result<()> {
        let (mut name, mut patience) = (Vec::new(), Patience::default());
        for slot in 0..self.used()? {
            let mut want = if id == 0 { Want::Name(Some(v.name.len()), &mut name) } else { Want::Nothing };
            match self.look(slot, id, &mut want, &mut patience) {
                Err(Error::NoEntry) => {}
                Ok(_) if id == 0 && name != v.name => {}
                Ok(e) => {
                    v.id = e.id;
                    v.slot = slot;
                    v.generation = self.generation;
                    v.missing = None;
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
        Err(Error::NoEntry)
    }

    /// Finds a variable again that is not in its slot. It keeps its slot in one file and the following ones of the same server.
    fn again(&self, v: &mut Variable) -> Result<()> {
        let named = self.u64(136)?;
        let other = v.generation != self.generation;
        if !other && v.missing == Some(named) {
            return Err(Error::NoEntry);
        }
        let mut found = Err(Error::NoEntry);
        if other && v.id != 0 {
            found = self.scan(v.id, v);
        }
        if let Err(Error::NoEntry) = found {
            found = self.scan(0, v);
        }
        if let Err(Error::NoEntry) = found {
            v.missing = Some(named);
            v.generation = self.generation;
        }
        found
    }

    /// Goes over to the file that is now at the path. false: there is none, or it is the same.
    fn follow(&mut self) -> bool {
        let access = if self.file.is_some() { Access::Pread } else { Access::Mapped };
        match fs::symlink_metadata(&self.path) {
            Ok(st) if (st.dev(), st.ino()) != self.inode => {}
            _ => return false,
        }
        match MemoryFile::open(&self.path, access) {
            Ok(next) if next.service == self.service && next.store == self.store => {
                *self = next;
                self.moved = true;
                true
            }
            _ => false,
        }
    }

    /// Does something that may find the file superseded, in the next one then.
    fn following<T>(&mut self, mut what: impl FnMut(&Self) -> Result<T>) -> Result<T> {
        for _ in 0..16 {
            match what(self) {
                Err(Error::Stale) if self.follow() => {}
                r => return r,
            }
        }
        Err(Error::Torn)
    }

    fn read(&mut self, v: &mut Variable, mut want: Want) -> Result<Meta> {
        self.following(|f| {
            let mut patience = Patience::default();
            let mut found = Err(Error::NoEntry);
            if v.id != 0 && v.missing.is_none() {
                found = f.look(v.slot, v.id, &mut want, &mut patience);
            }
            if let Err(Error::NoEntry) = found {
                f.again(v)?;
                found = f.look(v.slot, v.id, &mut want, &mut patience);
            }
            if found.is_ok() {
                v.generation = f.generation;
            }
            found.map(|e| e.meta)
        })
    }

    /// Finds a variable by its name, the path inside the service. It looks at every entry: keep what it has found.
    pub fn find(&mut self, name: impl AsRef<[u8]>) -> Result<Variable> {
        let mut v = Variable::new(name);
        self.following(|f| f.scan(0, &mut v))?;
        Ok(v)
    }

    /// The first variable in slot or behind it.
    pub fn next(&mut self, slot: u32) -> Result<Option<Variable>> {
        self.following(|f| {
            let mut v = Variable::new("");
            let mut patience = Patience::default();
            for slot in slot..f.used()?.max(slot) {
                match f.look(slot, 0, &mut Want::Name(None, &mut v.name), &mut patience) {
                    Err(Error::NoEntry) => {}
                    Ok(e) => return Ok(Some(Variable { id: e.id, slot, generation: f.generation, ..v })),
                    Err(e) => return Err(e),
                }
            }
            Ok(None)
        })
    }

    /// Replaces what is in the buffer by the value.
    pub fn read_into(&mut self, v: &mut Variable, buf: &mut Vec<u8>) -> Result<Meta> {
        self.read(v, Want::Value(buf))
    }

    pub fn load_u64(&mut self, v: &mut Variable) -> Result<u64> {
        let mut b = [0; 8];
        self.read(v, Want::Slice(&mut b))?;
        Ok(u64::from_le_bytes(b))
    }

    pub fn load_f64(&mut self, v: &mut Variable) -> Result<f64> {
        Ok(f64::from_bits(self.load_u64(v)?))
    }

    /// Waits until something in the service may have changed since the last call, or since the open: then read again what is of
    /// interest. false: it has not within the time. While the server keeps no file it waits for the next one.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool> {
        let began = Instant::now();
        loop {
            let now = self.u32(144).and_then(|changes| Ok((changes, self.u32(128)?)));
            if let Ok((_, SUPERSEDED)) = now {
                self.follow();
            }
            match now {
                Ok((changes, state)) if !self.moved && changes == self.seen => {
                    // Nobody wakes who waits at the file of a server that was killed or has gone: look for the next one.
                    let mut step = Duration::from_millis(if state == 1 { 500 } else { 20 });
                    if let Some(t) = timeout {
                        match t.checked_sub(began.elapsed()) {
                            Some(left) if left > Duration::ZERO => step = step.min(left),
                            _ => return Ok(false),
                        }
                    }
                    match self.map.sleep(144, changes, step).map_err(|e| e.raw_os_error()) {
                        Err(Some(sys::ETIMEDOUT)) => {
                            self.follow();
                        }
                        Err(Some(sys::EFAULT)) if !self.follow() => return Err(Error::Corrupt), // cut short
                        _ => {}
                    }
                    continue;
                }
                Ok((changes, _)) if !self.moved => self.seen = changes,
                Err(e) if !self.moved && !self.follow() => return Err(e),
                _ => {}
            }
            self.moved = false;
            return Ok(true);
        }
    }

    /// 1 live, 2 superseded, 3 closed.
    pub fn state(&self) -> Result<u32> {
        self.u32(128)
    }
    pub fn service(&self) -> u64 {
        self.service
    }
    pub fn store(&self) -> [u8; 16] {
        self.store
    }
    /// Greater than that of the service's previous file.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
