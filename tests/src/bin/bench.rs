//! `bench`: runs our server and its peers beside each other under the same load and prints ratios and targets.
//!
//! Exit code 0 whatever the ratios: it measures, a person judges. It fails only when nothing could be measured.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use serde_json::{Value, json};
use tests::load::bench::child::Pinning;
use tests::load::bench::comparison::{Comparison, RunEnvironment};
use tests::load::bench::suite::{Suite, SuiteSize};
use tests::load::bench::{comparison_report, tokens};

/// Sets our server beside its peers, in alternating rounds.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Cli {
    /// Short windows and 1,000 idle connections (the default)
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// What the targets are stated for
    #[arg(long)]
    full: bool,
    /// Several servers on one Redis: three pods of ours beside Socket.IO (the other contests are of single servers)
    #[arg(long)]
    pods: bool,
    /// Rounds in which everyone takes a turn (default: 3, with --full 5)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: Option<u32>,
    /// Only these contests, by name; may be given several times
    #[arg(long)]
    only: Vec<String>,
    /// Where the JSON results go
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
    let extent = if cli.full { SuiteSize::Full } else { SuiteSize::Quick };
    let program = std::env::current_exe().context("finding the programs beside this one")?;
    let suite = Suite::new(program.parent().unwrap_or(Path::new(".")), extent);
    let work = tempfile::tempdir()?;
    tokens::write(work.path())?;
    let arena = RunEnvironment {
        generator: suite.generator(),
        pinning: Pinning::detect(),
        work: work.path().to_string_lossy().into_owned(),
        rounds: cli.rounds.unwrap_or(if cli.full { 5 } else { 3 }),
    };
    let all = if cli.pods { suite.cluster_comparisons() } else { suite.comparisons() };
    let contests = chosen(all, &cli.only)?;
    println!("{} rounds, cores {:?}, {extent:?}\n", arena.rounds, arena.pinning);
    let records = run_all(&contests, &arena);
    ensure!(!records.is_empty(), "nothing could be measured");
    save(&cli.output, &json!({"rounds": arena.rounds, "extent": format!("{extent:?}"), "contests": records}))
}

fn chosen(contests: Vec<Comparison>, only: &[String]) -> anyhow::Result<Vec<Comparison>> {
    let names: Vec<&str> = contests.iter().map(|contest| contest.name).collect();
    for name in only {
        ensure!(names.contains(&name.as_str()), "no contest `{name}`: there are {}", names.join(", "));
    }
    Ok(contests.into_iter().filter(|contest| only.is_empty() || only.iter().any(|name| name == contest.name)).collect())
}

/// Runs the contests; one that fails is reported and does not keep the others from running.
fn run_all(contests: &[Comparison], arena: &RunEnvironment) -> Vec<Value> {
    let mut records = Vec::new();
    for contest in contests {
        match contest.run(arena) {
            Ok(outcome) => {
                println!("{}", comparison_report::table(contest, &outcome));
                records.push(comparison_report::record(contest, &outcome));
            }
            Err(error) => println!("{}: not measured: {error:#}\n", contest.name),
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
