//! Prints a variable of a commyfs service at every change:
//!
//!     rustc --edition 2021 -O watch.rs && ./watch /run/user/1000/commyfs/service_3.mem temp
//
// SPDX-License-Identifier: MIT

mod commyfs;

use commyfs::{Access, Error, MemoryFile, Variable};
use std::io::Write;

fn watch(path: &str, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut file = MemoryFile::open(path, Access::Pread)?;
    let mut variable = Variable::new(name);
    let (mut value, mut last) = (Vec::new(), 0);
    loop {
        match file.read_into(&mut variable, &mut value) {
            Ok(meta) if meta.version != last => {
                value.push(b'\n');
                std::io::stdout().write_all(&value)?;
                last = meta.version;
            }
            Ok(_) | Err(Error::NoEntry | Error::Stale | Error::Torn) => {} // what is not there may come
            Err(e) => return Err(e.into()),
        }
        file.wait(None)?;
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args.len() != 3 {
        eprintln!("usage: watch FILE VARIABLE");
        std::process::exit(2);
    }
    if let Err(e) = watch(&args[1], &args[2]) {
        eprintln!("watch: {}: {}", args[1], e);
        std::process::exit(1);
    }
}
