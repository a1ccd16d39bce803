// Prints the name and value of each file in a directory that has changed, as notify (crates.io) tells of it.
use notify::{RecursiveMode, Watcher};
use std::{env, fs, io::Write, path::Path, sync::mpsc};

fn main() {
    let dir = env::args().nth(1).expect("usage: watch DIR");
    let (tell, told) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(tell).expect("a watcher");
    watcher.watch(Path::new(&dir), RecursiveMode::NonRecursive).expect("watch");
    let mut out = std::io::stdout();
    writeln!(out, "ready").unwrap();
    for event in told {
        let event = event.expect("an event");
        if event.kind.is_access() && !matches!(event.kind, notify::EventKind::Access(notify::event::AccessKind::Close(notify::event::AccessMode::Write))) {
            continue; // reading raises events too
        }
        for path in event.paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let value = fs::read_to_string(&path).unwrap_or_else(|e| e.to_string());
            writeln!(out, "{name} {value}").unwrap();
        }
        out.flush().unwrap();
    }
}
