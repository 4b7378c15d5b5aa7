//! The `twinway` executable: allocator, TLS provider, command line, exit code; also the supervisor of its functions.

use std::process::ExitCode;

use shim::cli::{self, CommandIo, SUPERVISE_COMMAND};
use shim::config::ProcessEnvironment;

/// jemalloc returns memory to the system after a reconnect storm; glibc does not (19 MB against 155 MB resident after
/// 3,000 connections).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// First descriptor after standard input, output and error.
const FIRST_INHERITED_DESCRIPTOR: i32 = 3;

fn main() -> ExitCode {
    forbid_inspection();
    // The launcher may have left secrets open, which functions and other child processes must not inherit. Descriptors
    // that this process opens itself have close-on-exec already.
    close_fds::set_fds_cloexec(FIRST_INHERITED_DESCRIPTOR, &[]);
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|command| command == SUPERVISE_COMMAND) {
        return runtime_api::run_supervisor(arguments);
    }
    // rustls panics on first use when its features enable several providers and none is installed. Installing fails
    // only when one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    cli::run_command_line(
        std::env::args_os(),
        CommandIo { variables: &ProcessEnvironment, stdout: &mut out, stderr: &mut err },
    )
}

/// Forbids processes of the same user to read this process's memory and environment, which contain secrets, and the
/// kernel to write them into core dumps (prctl(2), `PR_SET_DUMPABLE`).
fn forbid_inspection() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        // Fails only for arguments that the kernel does not know.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
