//! The `twinway-migrate` executable: command line, signals and exit code. `twinway migrate` runs it.

use std::process::ExitCode;

use clap::Parser as _;
use migrate::args::MigrateCommand;
use migrate::{MigrationJob, RunMode, run_migration};
use shim::config::ConfigError;
use shim::exit_code::{EXIT_INTERNAL, EXIT_UNAVAILABLE, EXIT_USAGE};
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    // rustls panics on first use if several providers are compiled in and none is selected. An error means that one is
    // already installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let args = match MigrateCommand::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Printing fails only if the output is closed; the exit code still reports the error.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("twinway migrate: starting the runtime failed: {}", errors::chain(&error));
            return ExitCode::from(EXIT_INTERNAL);
        }
    };
    runtime.block_on(run_command(args))
}

async fn run_command(args: MigrateCommand) -> ExitCode {
    let mode = match (args.dry_run, args.verify_only) {
        (true, _) => RunMode::DryRun,
        (_, true) => RunMode::VerifyOnly,
        _ => RunMode::Copy,
    };
    let MigrateCommand { from, to, channels, jobs, config, .. } = args;
    if from == to {
        eprintln!("twinway migrate: --from and --to are the same store");
        return ExitCode::from(EXIT_USAGE);
    }
    let job = MigrationJob { from, to, channels, mode, max_parallel_channels: usize::from(jobs), config };
    let stop = CancellationToken::new();
    let migration = run_migration(&job, &stop);
    tokio::pin!(migration);
    let outcome = tokio::select! {
        outcome = &mut migration => outcome,
        () = wait_for_signal() => {
            eprintln!("stopping after the current page");
            stop.cancel();
            migration.await
        }
    };
    match outcome {
        Ok(report) => {
            print!("{report}");
            ExitCode::from(report.exit_code())
        }
        Err(error) => {
            eprintln!("twinway migrate: {}", errors::chain(&*error));
            let usage = error.chain().any(|cause| cause.is::<ConfigError>());
            ExitCode::from(if usage { EXIT_USAGE } else { EXIT_UNAVAILABLE })
        }
    }
}

/// Waits for SIGINT or SIGTERM, forever if the handlers cannot be installed.
async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
