//! `bench`: runs our server and its peers under the same load and prints ratios and targets.
//!
//! The exit code is 0 whatever the ratios are, because a person judges them. It is 1 only when nothing could be
//! measured.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use serde_json::{Value, json};
use tests::load::bench::child::Pinning;
use tests::load::bench::comparison::{Comparison, RunEnvironment};
use tests::load::bench::suite::{Suite, SuiteSize};
use tests::load::bench::{comparison_report, tokens};

/// Compares our server with its peers, in alternating rounds.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Cli {
    /// Short windows and 1,000 idle connections (the default)
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// The size that the targets apply to
    #[arg(long)]
    full: bool,
    /// Several servers on one Redis: three of our pods against Socket.IO (other comparisons use single servers)
    #[arg(long)]
    pods: bool,
    /// Rounds, each of which measures every server once (default: 3, with --full 5)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: Option<u32>,
    /// Run only these comparisons, by name; repeatable
    #[arg(long)]
    only: Vec<String>,
    /// File of the JSON results
    #[arg(long, default_value = "target/bench.json")]
    output: PathBuf,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let size = if cli.full { SuiteSize::Full } else { SuiteSize::Quick };
    let program = std::env::current_exe().context("finding the directory of the programs")?;
    let suite = Suite::new(program.parent().unwrap_or(Path::new(".")), size);
    let work = tempfile::tempdir()?;
    tokens::write(work.path())?;
    let environment = RunEnvironment {
        generator: suite.generator(),
        pinning: Pinning::detect(),
        work: work.path().to_string_lossy().into_owned(),
        rounds: cli.rounds.unwrap_or(if cli.full { 5 } else { 3 }),
    };
    let all = if cli.pods { suite.cluster_comparisons() } else { suite.comparisons() };
    let comparisons = select_comparisons(all, &cli.only)?;
    println!("{} rounds, cores {:?}, {size:?}\n", environment.rounds, environment.pinning);
    let records = run_all(&comparisons, &environment);
    ensure!(!records.is_empty(), "nothing could be measured");
    save(&cli.output, &json!({"rounds": environment.rounds, "size": format!("{size:?}"), "comparisons": records}))
}

fn select_comparisons(comparisons: Vec<Comparison>, only: &[String]) -> anyhow::Result<Vec<Comparison>> {
    let names: Vec<&str> = comparisons.iter().map(|comparison| comparison.name).collect();
    for name in only {
        ensure!(names.contains(&name.as_str()), "no comparison `{name}`: choose from {}", names.join(", "));
    }
    Ok(comparisons
        .into_iter()
        .filter(|comparison| only.is_empty() || only.iter().any(|name| name == comparison.name))
        .collect())
}

/// Runs the comparisons; a failed one is reported and the others still run.
fn run_all(comparisons: &[Comparison], environment: &RunEnvironment) -> Vec<Value> {
    let mut records = Vec::new();
    for comparison in comparisons {
        match comparison.run(environment) {
            Ok(outcome) => {
                println!("{}", comparison_report::table(comparison, &outcome));
                records.push(comparison_report::record(comparison, &outcome));
            }
            Err(error) => println!("{}: not measured: {error:#}\n", comparison.name),
        }
    }
    records
}

fn save(path: &Path, results: &Value) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    std::fs::write(path, format!("{results:#}\n")).with_context(|| format!("writing {}", path.display()))?;
    println!("results in {}", path.display());
    Ok(())
}
