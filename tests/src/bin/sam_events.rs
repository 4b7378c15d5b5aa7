//! `sam_events DIRECTORY`: one event per function for `sam local invoke`, and the environment variables that match
//! them.
//!
//! Each run generates a new secret that signs the tokens in the events, so `env.json` is valid only with the events
//! of the same run. Do not put the directory under version control.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Parser;
use serde_json::{Value, json};
use tests::aws_local::random_secret;
use tests::sam_events::samples;

/// Logical ids in `template.yaml` of the functions that verify tokens and therefore need the secret.
const VERIFYING: [&str; 2] = ["AuthorizerFunction", "ApiFunction"];

#[derive(Debug, Parser)]
struct Arguments {
    /// Directory of the files; created if missing
    directory: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { directory } = Arguments::parse();
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let secret = random_secret()?;
    for (name, event) in samples(&secret, now()?).await? {
        write(&directory.join(format!("{name}.json")), &event)?;
    }
    let variables = VERIFYING
        .map(|function| (function.to_owned(), json!({ "TWINWAY_AUTH_SECRET": secret, "TWINWAY_AUTH_SECRET_ARN": "" })));
    write(&directory.join("env.json"), &Value::from_iter(variables))
}

fn write(file: &Path, content: &Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(content)?;
    std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a command-line program uses the system clock")]
fn now() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}
