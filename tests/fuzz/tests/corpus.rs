//! Replays the corpus of every target: what the fuzzer once found interesting stays tested where no fuzzer runs.

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut replayed = 0;
    for entry in std::fs::read_dir(&directory).expect("every target has a corpus") {
        let path = entry.expect("the corpus can be listed").path();
        run(&std::fs::read(&path).expect("an input can be read"));
        replayed += 1;
    }
    assert!(replayed >= 10, "{target} has only {replayed} inputs");
}

#[test]
fn frames() {
    replay("frames", fuzz::frames);
}

#[test]
fn selection() {
    replay("selection", fuzz::selection);
}

#[test]
fn management() {
    replay("management", fuzz::management);
}

#[test]
fn reply() {
    replay("reply", fuzz::reply);
}
