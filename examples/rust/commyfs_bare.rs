//! Stores into the file of a bare service, and rings its bell, so that the server looks at once and only where it must. The layout
//! of the bell is in docs/bare.md.
//!
//! Use this file as a module or as the `src/lib.rs` of a crate: it needs only std, Linux and a 64-bit little-endian machine.
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! let mut memory = commyfs_bare::Memory::open("/var/lib/commyfs/bare/service_3.mem")?;
//! memory.store(64, &21.5f64.to_le_bytes())?;
//! # Ok(())
//! # }
//! ```
//!
//! The file has to be mapped, so a process of the same user that makes it shorter raises SIGBUS here; the server does not.
//
// SPDX-License-Identifier: MIT
#![allow(dead_code)] // as a module: who uses it needs a part of it

use std::fs::{File, OpenOptions};
use std::io::{self, Error, ErrorKind, Result};
use std::os::raw::{c_int, c_long, c_void};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::io::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering};
use std::time::{Duration, Instant};

#[cfg(not(all(target_os = "linux", target_endian = "little", target_pointer_width = "64")))]
compile_error!("commyfs_bare is for 64-bit little-endian Linux");

extern "C" {
    fn mmap(addr: *mut c_void, len: usize, prot: c_int, flags: c_int, fd: c_int, off: i64) -> *mut c_void;
    fn munmap(addr: *mut c_void, len: usize) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

#[repr(C)]
struct Timespec {
    sec: i64,
    nsec: i64,
}

const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;
const FUTEX_WAIT: c_int = 0;
const FUTEX_WAKE: c_int = 1;
const O_NONBLOCK: c_int = 0o4000;
#[cfg(target_arch = "x86_64")]
const O_NOFOLLOW: c_int = 0o400000;
#[cfg(target_arch = "aarch64")]
const O_NOFOLLOW: c_int = 0o100000;
#[cfg(target_arch = "x86_64")]
const FUTEX: c_long = 202;
#[cfg(target_arch = "aarch64")]
const FUTEX: c_long = 98;

const PAGE: u64 = 4096;

// Where the words of the bell are.
const SIZE: usize = 40;
const BELL: usize = 128;
const LISTENING: usize = 132;
const CHANGES: usize = 136;

fn corrupt() -> Error {
    Error::new(ErrorKind::InvalidData, "the file is corrupt, or is none of a bare service")
}

fn within(off: u64, n: u64, from: u64, size: u64) -> bool {
    off >= from && off - from <= size && n <= size - (off - from)
}

/// A shared mapping of a whole file, which others load from and store into at the same time.
struct Mapping {
    start: *mut u8,
    len: usize,
}

// SAFETY: it is memory that any thread may use, atomically, until it is dropped.
unsafe impl Send for Mapping {}
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &File) -> Result<Self> {
        let len = file.metadata()?.len() as usize;
        // SAFETY: a new mapping overlaps no other memory.
        let p = unsafe { mmap(std::ptr::null_mut(), len, PROT_READ_WRITE, MAP_SHARED, file.as_raw_fd(), 0) };
        if p as isize == -1 {
            return Err(Error::last_os_error());
        }
        Ok(Mapping { start: p as *mut u8, len })
    }

    fn u32(&self, off: usize) -> &AtomicU32 {
        assert!(off % 4 == 0 && off + 4 <= self.len);
        // SAFETY: it is aligned, and lies inside the mapping.
        unsafe { &*(self.start.add(off) as *const AtomicU32) }
    }

    fn u64(&self, off: usize) -> &AtomicU64 {
        assert!(off % 8 == 0 && off + 8 <= self.len);
        // SAFETY: it is aligned, and lies inside the mapping.
        unsafe { &*(self.start.add(off) as *const AtomicU64) }
    }

    /// Calls each with the address of the largest words that can be loaded or stored at once, and where they are in the range.
    fn units(&self, off: u64, n: usize, mut each: impl FnMut(*mut u8, std::ops::Range<usize>)) {
        assert!(within(off, n as u64, 0, self.len as u64));
        let mut at = 0;
        while at < n {
            // SAFETY: it lies inside the mapping.
            let p = unsafe { self.start.add(off as usize + at) };
            let mut unit = 8;
            while unit > n - at || p as usize % unit != 0 {
                unit /= 2;
            }
            each(p, at..at + unit);
            at += unit;
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nobody has a reference to it.
        unsafe { munmap(self.start as *mut c_void, self.len) };
    }
}

/// The memory of a bare service, and its bell.
pub struct Memory {
    file: File,
    mem: Mapping,
    bell: Mapping,
    bitmap: usize,
    pages: u64,
    seen: u32, // the number of changes that wait has told of
}

fn open(path: &Path) -> Result<File> {
    // No link, and no FIFO or device, which could block.
    let mut tries = 0;
    let file = loop {
        match OpenOptions::new().read(true).write(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(path) {
            // The server asks the kernel who has the file open, which takes a moment.
            Err(e) if e.kind() == ErrorKind::WouldBlock && tries < 1000 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            r => break r?,
        }
    };
    let st = file.metadata()?;
    if !st.is_file() || st.len() < PAGE {
        return Err(corrupt());
    }
    Ok(file)
}

impl Memory {
    /// Opens the file at path, service_N.mem, and the bell beside it, service_N.bell.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let bell = Mapping::new(&open(&path.as_ref().with_extension("bell"))?)?;
        let word = |off| bell.u64(off).load(Ordering::Relaxed);
        let (bitmap, bytes) = (word(48), word(56));
        if word(0) != u64::from_le_bytes(*b"COMMYBEL")
            || word(8) != 1 | PAGE << 32 // the version and the size of the header
            || bitmap % 8 != 0
            || bytes % 8 != 0
            || !within(bitmap, bytes, PAGE, bell.len as u64 - PAGE)
        {
            return Err(corrupt());
        }
        let seen = bell.u32(CHANGES).load(Ordering::Acquire);
        let file = open(path.as_ref())?;
        let mem = Mapping::new(&file)?;
        Ok(Memory { file, mem, bell, bitmap: bitmap as usize, pages: bytes * 8, seen })
    }

    /// How many bytes there are.
    pub fn size(&self) -> u64 {
        self.bell.u64(SIZE).load(Ordering::Acquire)
    }

    /// Checks a range, mapping the bytes by which the file has grown.
    fn inside(&mut self, off: u64, n: usize) -> Result<()> {
        if !within(off, n as u64, 0, self.size()) {
            return Err(Error::new(ErrorKind::InvalidInput, "the memory is not that large"));
        }
        if !within(off, n as u64, 0, self.mem.len as u64) {
            if !within(off, n as u64, 0, self.file.metadata()?.len()) {
                return Err(corrupt());
            }
            self.mem = Mapping::new(&self.file)?;
        }
        Ok(())
    }

    /// Fills to with what is at off. Words of 2, 4 and 8 bytes at multiples of their size are whole, more is not.
    pub fn load(&mut self, off: u64, to: &mut [u8]) -> Result<()> {
        self.inside(off, to.len())?;
        self.mem.units(off, to.len(), |p, at| {
            let to = &mut to[at];
            // SAFETY: p is that of an aligned word inside the mapping.
            let word = unsafe {
                match to.len() {
                    8 => (*(p as *const AtomicU64)).load(Ordering::Relaxed),
                    4 => (*(p as *const AtomicU32)).load(Ordering::Relaxed) as u64,
                    2 => (*(p as *const AtomicU16)).load(Ordering::Relaxed) as u64,
                    _ => (*(p as *const AtomicU8)).load(Ordering::Relaxed) as u64,
                }
            };
            to.copy_from_slice(&word.to_le_bytes()[..to.len()]);
        });
        Ok(())
    }

    /// Stores at off, such words at once, and tells the server.
    pub fn store(&mut self, off: u64, from: &[u8]) -> Result<()> {
        self.inside(off, from.len())?;
        if from.is_empty() {
            return Ok(());
        }
        self.mem.units(off, from.len(), |p, at| {
            let from = &from[at];
            let mut word = [0; 8];
            word[..from.len()].copy_from_slice(from);
            let word = u64::from_le_bytes(word);
            // SAFETY: p is that of an aligned word inside the mapping.
            unsafe {
                match from.len() {
                    8 => (*(p as *const AtomicU64)).store(word, Ordering::Relaxed),
                    4 => (*(p as *const AtomicU32)).store(word as u32, Ordering::Relaxed),
                    2 => (*(p as *const AtomicU16)).store(word as u16, Ordering::Relaxed),
                    _ => (*(p as *const AtomicU8)).store(word as u8, Ordering::Relaxed),
                }
            }
        });
        let last = (off + from.len() as u64 - 1) / PAGE;
        for page in off / PAGE..(last + 1).min(self.pages) {
            // others are found by the scan
            self.bell.u64(self.bitmap + (page / 64 * 8) as usize).fetch_or(1 << (page % 64), Ordering::Release);
        }
        let bell = self.bell.u32(BELL);
        bell.fetch_add(1, Ordering::SeqCst);
        if self.bell.u32(LISTENING).load(Ordering::SeqCst) != 0 {
            // SAFETY: the arguments are what futex(2) takes for FUTEX_WAKE.
            unsafe { syscall(FUTEX, bell, FUTEX_WAKE, 1) };
        }
        Ok(())
    }

    /// Waits until the server has put or taken changes since the last call, or since the open. false: it has not within the time.
    /// While there is no server it waits for what the next one does.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<bool> {
        let (began, word) = (Instant::now(), self.bell.u32(CHANGES));
        loop {
            let changes = word.load(Ordering::Acquire);
            if changes != self.seen {
                self.seen = changes;
                return Ok(true);
            }
            let mut step = Duration::from_secs(3600);
            if let Some(t) = timeout {
                match t.checked_sub(began.elapsed()) {
                    Some(left) if left > Duration::ZERO => step = step.min(left),
                    _ => return Ok(false),
                }
            }
            let t = Timespec { sec: step.as_secs() as i64, nsec: step.subsec_nanos() as i64 };
            // SAFETY: the arguments are what futex(2) takes for FUTEX_WAIT.
            if unsafe { syscall(FUTEX, word, FUTEX_WAIT, changes, &t, std::ptr::null::<u32>(), 0) } != 0 {
                let e = io::Error::last_os_error();
                match e.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::TimedOut => {}
                    _ => return Err(e),
                }
            }
        }
    }
}
