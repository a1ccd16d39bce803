//! What the tests do with commyfs.rs: see check.c.

#[path = "../rust/commyfs.rs"]
mod commyfs;
#[path = "../rust/commyfs_bare.rs"]
mod commyfs_bare;

use commyfs::{Access, Error, MemoryFile, Variable};
use std::time::Duration;

type Checked = Result<(), Box<dyn std::error::Error>>;

/// The number of a sealed value: its first word, from which its length and its other bytes follow. None: it is torn.
fn sealed(b: &[u8]) -> Option<u64> {
    let n = u64::from_le_bytes(b.get(..8)?.try_into().ok()?);
    let rest = (8..b.len()).all(|i| b[i] == n.wrapping_add(i as u64) as u8);
    (b.len() as u64 == 8 + n.wrapping_mul(7919) % 6000 && rest).then_some(n)
}

fn list(path: &str, access: Access) -> Checked {
    let mut f = MemoryFile::open(path, access)?;
    let (state, s) = (f.state()?, f.store());
    println!("service {} generation {} state {} store {:02x}{:02x}{:02x}", f.service(), f.generation(), state, s[0], s[1], s[2]);
    let (mut slot, mut value, mut result) = (0, Vec::new(), Ok(()));
    loop {
        let mut v = match f.next(slot) {
            Ok(None) => break,
            Ok(Some(v)) => v,
            Err(e) => {
                result = Err(e.into());
                break;
            }
        };
        slot = v.slot() + 1;
        match f.read_into(&mut v, &mut value) {
            Ok(m) => {
                let (name, value) = (String::from_utf8_lossy(v.name()), String::from_utf8_lossy(&value));
                println!("{} {} {} {} {} {} {}", v.slot(), v.id(), m.version, m.mtime, m.size, name, value);
            }
            Err(e) => result = Err(e.into()),
        }
    }
    match f.find("name") {
        Ok(_) | Err(Error::NoEntry) => {}
        Err(e) => result = Err(e.into()),
    }
    f.wait(Some(Duration::from_millis(1)))?;
    result
}

fn hammer(path: &str, name: &str, reads: u64, access: Access) -> Checked {
    let mut f = MemoryFile::open(path, access)?;
    let mut v = f.find(name)?;
    let (mut value, mut last, mut version, mut generation) = (Vec::new(), 0, 0, f.generation());
    let (mut i, mut values, mut files, mut retries) = (0, 0, 1, 0);
    while i < reads {
        let m = match f.read_into(&mut v, &mut value) {
            Err(Error::Torn) => {
                retries += 1;
                continue;
            }
            r => r?,
        };
        let n = sealed(&value).ok_or("torn")?;
        if n < last || m.version < version || m.size != value.len() {
            return Err("went back".into());
        }
        values += (n != last) as u64;
        files += (f.generation() != generation) as u64;
        i += 1;
        last = n;
        version = m.version;
        generation = f.generation();
    }
    println!("whole {} values {} files {} retries {}", reads, values, files, retries);
    Ok(())
}

fn follow(path: &str, name: &str, last: u64, access: Access) -> Checked {
    let mut f = MemoryFile::open(path, access)?;
    let mut v = Variable::new(name);
    let (mut value, mut changes) = (Vec::new(), 0);
    loop {
        match f.read_into(&mut v, &mut value) {
            Ok(_) if sealed(&value).ok_or("torn")? == last => break,
            Ok(_) | Err(Error::NoEntry | Error::Stale) => {}
            Err(e) => return Err(e.into()),
        }
        if !f.wait(Some(Duration::from_secs(60)))? {
            return Err("no change".into());
        }
        changes += 1;
    }
    println!("saw {} woken {}", last, changes);
    Ok(())
}

fn load(path: &str, name: &str, access: Access) -> Checked {
    let mut f = MemoryFile::open(path, access)?;
    let mut v = f.find(name)?;
    println!("{} {}", f.load_u64(&mut v)?, f.load_f64(&mut v)?);
    Ok(())
}

fn wait_once(path: &str, access: Access) -> Checked {
    let mut f = MemoryFile::open(path, access)?;
    println!("waits");
    let changed = f.wait(Some(Duration::from_secs(60)))?;
    println!("wait {} state {}", changed as u32, f.state()?);
    Ok(())
}

fn store(path: &str, off: u64, size: usize, n: u64) -> Checked {
    let mut b = commyfs_bare::Memory::open(path)?;
    for i in 1..=n {
        b.store(off, &vec![i as u8; size])?;
    }
    Ok(())
}

fn range(path: &str, off: u64, size: usize) -> Checked {
    let (mut b, mut value) = (commyfs_bare::Memory::open(path)?, vec![0; size]);
    b.load(off, &mut value)?;
    b.store(off, &value)?;
    b.wait(Some(Duration::from_millis(1)))?;
    println!("possible");
    Ok(())
}

fn grow(path: &str, off: u64) -> Checked {
    let mut b = commyfs_bare::Memory::open(path)?;
    if b.store(off, b"grown up").is_ok() {
        return Err("it is large".into());
    }
    if !b.wait(Some(Duration::from_secs(60)))? {
        return Err("no change".into());
    }
    Ok(b.store(off, b"grown up")?)
}

fn bell(path: &str, off: u64) -> Checked {
    let (mut b, mut word) = (commyfs_bare::Memory::open(path)?, [1; 8]);
    while word != [0; 8] {
        b.load(off, &mut word)?;
        println!("{}", u64::from_le_bytes(word));
        if word != [0; 8] && !b.wait(Some(Duration::from_secs(60)))? {
            return Err("no change".into());
        }
    }
    Ok(())
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let access = if std::env::var_os("PREAD").is_some() { Access::Pread } else { Access::Mapped };
    let mut failed = false;
    let mut check = |result: Checked| {
        if let Err(e) = result {
            println!("{}", e);
            failed = true;
        }
    };
    match args[1..] {
        ["list", ref files @ ..] => files.iter().for_each(|f| check(list(f, access))),
        ["hammer", path, name, reads] => check(hammer(path, name, reads.parse().unwrap(), access)),
        ["follow", path, name, last] => check(follow(path, name, last.parse().unwrap(), access)),
        ["load", path, name] => check(load(path, name, access)),
        ["store", path, off, size, n] => check(store(path, off.parse().unwrap(), size.parse().unwrap(), n.parse().unwrap())),
        ["range", path, off, size] => check(range(path, off.parse().unwrap(), size.parse().unwrap())),
        ["grow", path, off] => check(grow(path, off.parse().unwrap())),
        ["bell", path, off] => check(bell(path, off.parse().unwrap())),
        ["wait", path] => check(wait_once(path, access)),
        _ => panic!("usage"),
    }
    std::process::exit(failed as i32);
}
