//! Replays the corpus of every target as ordinary tests.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use tar::Archive;

/// Runs every input of `corpus/{target}.tar.gz`; fails with fewer than `min` inputs, so that a truncated archive is
/// detected.
fn replay(target: &str, min: usize, run: fn(&[u8])) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(format!("{target}.tar.gz"));
    let mut archive = Archive::new(GzDecoder::new(File::open(path).expect("every target has a corpus")));
    let mut replayed = 0;
    for entry in archive.entries().expect("the corpus is an archive") {
        let mut input = Vec::new();
        entry.and_then(|mut entry| entry.read_to_end(&mut input)).expect("an input can be read");
        run(&input);
        replayed += 1;
    }
    println!("{target}: {replayed} inputs");
    assert!(replayed >= min, "{target} has only {replayed} inputs");
}

#[test]
fn frames() {
    replay("frames", 100, fuzz::frames);
}

#[test]
fn selection() {
    replay("selection", 400, fuzz::selection);
}

#[test]
fn management() {
    replay("management", 50, fuzz::management);
}

#[test]
fn reply() {
    replay("reply", 500, fuzz::reply);
}
