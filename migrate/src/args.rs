//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::channel_pattern::ChannelPattern;
use crate::endpoint::StoreEndpoint;

const ABOUT: &str = "\
Copies channels and their history from one store to another, and verifies the copy.

Offsets, times, authors, ids, bodies and epochs stay as they are, so clients resume in the new store where they were in the
old one. It may run while the source serves; run it again when nobody writes any more, and only what came meanwhile is
copied. An interrupted copy is continued the same way.";

const EXAMPLES: &str = "\
Stores:
  redis://…, rediss://…, redis       Redis, there or as REDIS_URL says
  postgres://…, postgres             PostgreSQL, there or as DATABASE_URL says
  dynamodb:TABLE                     DynamoDB, with the SDK's usual environment
  embedded:DIRECTORY, embedded       messages.redb in a data directory that no server uses

Prefix, topology, schema, certificates, passwords and retention come from the same configuration as the server's
(twinway.toml, TWINWAY_ variables).

Examples:
  twinway migrate --from embedded:./twinway-data --to postgres://twinway@db/messages
  twinway migrate --from dynamodb:chat-messages --to redis --channels 'acme/*' --dry-run
  twinway migrate --from redis --to postgres --verify-only

Exit codes: 0 copied and equal, 1 something differs or could not be copied, 64 usage or configuration, 69 a store is not
available, 70 internal, 75 interrupted: run it again to go on.";

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
    /// Which channels: a pattern with * and ? over keys such as acme/room:lobby
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    pub channels: ChannelPattern,
    /// Say what would be copied, and write nothing
    #[arg(long, conflicts_with = "verify_only")]
    pub dry_run: bool,
    /// Compare the stores, and write nothing
    #[arg(long)]
    pub verify_only: bool,
    /// How many channels are worked on at a time
    #[arg(long, value_name = "NUMBER", default_value = "4", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// Configuration file [env: TWINWAY_CONFIG] [default: twinway.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}
