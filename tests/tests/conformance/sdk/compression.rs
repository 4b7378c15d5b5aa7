//! Independent WebSocket libraries on compressed connections: Python's `websockets` and npm's `ws`.
//!
//! They send compressed messages in one frame and in several, with context takeover, and decompress replies.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tests::conformance::world::CaseWorld;
use tokio::process::Command;

use super::{javascript_packages, python_packages, source};

/// Returns the bodies that the probe sends: one too short for compression, a compressible one, and one that fits into
/// one client frame only when compressed.
fn bodies() -> Vec<String> {
    let numbers = |count: u32| (0..count).map(|number| format!("{},", number.wrapping_mul(2_654_435_761))).collect();
    let repeated = "the same words again and again, \u{e4}\u{f6}\u{fc} \u{1f600} ".repeat(60);
    vec!["short".to_owned(), repeated, numbers(500), numbers(5_000)]
}

async fn run_client(program: &mut Command, extensions: &str) -> anyhow::Result<()> {
    let world = CaseWorld::local();
    let api = world.standard().await?;
    let sizes = [100, 1_000, 20_000, 131_072, 100];
    let endpoint = format!("ws://{}{}", api.endpoint.authority, api.endpoint.path());
    let task = json!({"endpoint": endpoint, "sizes": sizes, "bodies": bodies()});
    let program = program.arg(task.to_string()).stdin(Stdio::null()).kill_on_drop(true);
    let output =
        tokio::time::timeout(Duration::from_secs(60), program.output()).await.context("the client hangs")??;
    ensure!(output.status.success(), "the client failed: {}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout)?;
    let expected = json!({
        "extensions": extensions, "lengths": sizes, "fragmented": 9_000, "answers": [true, true, true, true],
        "compressed": 3,
    });
    ensure!(seen == expected, "the client reported {seen:#}");
    world.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python() {
    let Some(directory) = python_packages().await else { return };
    let mut program = Command::new(directory.join("venv/bin/python"));
    let extensions = "permessage-deflate;server_max_window_bits=12";
    run_client(program.arg(source("python/compression.py")), extensions).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn javascript() {
    let Some(directory) = javascript_packages().await else { return };
    run_client(Command::new("node").arg(directory.join("compression.mjs")), "permessage-deflate").await.unwrap();
}
