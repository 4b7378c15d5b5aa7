//! Command-line arguments of `twinway migrate`.

use std::path::PathBuf;

use clap::Parser;

use crate::channel_pattern::ChannelPattern;
use crate::endpoint::StoreEndpoint;

const ABOUT: &str = "\
Copies channels and their history from one store to another, and verifies the copy.

Offsets, timestamps, senders, ids, bodies and epochs are preserved, so clients resume in the new store at the position they had
in the old one. The source may stay in use during the copy; run the command again after all writers have stopped to copy only the
messages appended since. An interrupted copy resumes the same way.";

const EXAMPLES: &str = "\
Stores:
  redis://…, rediss://…, redis       Redis at this URL, or at REDIS_URL
  postgres://…, postgres             PostgreSQL at this URL, or at DATABASE_URL
  dynamodb:TABLE                     DynamoDB, with the SDK's usual environment
  embedded:DIRECTORY, embedded       messages.redb in a data directory that no running server uses

Prefix, topology, schema, certificates, passwords and retention are read from the server's configuration
(twinway.toml, TWINWAY_ variables).

Examples:
  twinway migrate --from embedded:./twinway-data --to postgres://twinway@db/messages
  twinway migrate --from dynamodb:chat-messages --to redis --channels 'acme/*' --dry-run
  twinway migrate --from redis --to postgres --verify-only

Exit codes: 0 copied and verified, 1 differences or failed copies, 64 usage or configuration error, 69 store unavailable,
70 internal error, 75 interrupted: run the command again to continue.";

/// `twinway migrate`.
#[derive(Debug, Parser)]
#[command(name = "twinway migrate", version, about = "Moves channels and their history between stores", long_about = ABOUT)]
#[command(after_help = EXAMPLES, max_term_width = 110)]
pub struct MigrateCommand {
    /// The store to copy from
    #[arg(long, value_name = "STORE")]
    pub from: StoreEndpoint,
    /// The store to copy to
    #[arg(long, value_name = "STORE")]
    pub to: StoreEndpoint,
    /// Channels to copy: a pattern with * and ?, matched against keys such as acme/room:lobby
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    pub channels: ChannelPattern,
    /// Print the number of messages to copy without writing
    #[arg(long, conflicts_with = "verify_only")]
    pub dry_run: bool,
    /// Compare the stores without writing
    #[arg(long)]
    pub verify_only: bool,
    /// Number of channels processed in parallel
    #[arg(long, value_name = "NUMBER", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// Configuration file [env: TWINWAY_CONFIG] [default: twinway.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
