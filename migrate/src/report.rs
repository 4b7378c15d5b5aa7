//! Report of a migration: text and exit code.

use std::fmt;

use handlers::channel::Channel;
use shim::exit_code::{EXIT_NEGATIVE, EXIT_SUCCESS, EXIT_UNFINISHED};

use crate::copy::CopyError;
use crate::plan::ChannelPlan;
use crate::verify::{VerifiedChannel, VerifyError};

/// Report of a migration.
#[derive(Debug, Default)]
pub struct MigrationReport {
    /// Plans of all channels, in a dry run only.
    pub planned: Vec<ChannelPlan>,
    /// Copied channels with the number of copied messages.
    pub copied: Vec<(Channel, u64)>,
    /// Channels that were compared and are equal.
    pub verified: Vec<(Channel, VerifiedChannel)>,
    /// Channels that could not be copied.
    pub copy_errors: Vec<(Channel, CopyError)>,
    /// Channels that differ.
    pub differences: Vec<(Channel, VerifyError)>,
    /// Set if the migration was stopped before its end.
    pub interrupted: bool,
}

impl MigrationReport {
    /// Returns the exit code: interrupted, differences or failed copies, or success.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let plan_failed = self.planned.iter().any(|plan| plan.missing_messages.is_err());
        match () {
            () if self.interrupted => EXIT_UNFINISHED,
            () if plan_failed || !self.copy_errors.is_empty() || !self.differences.is_empty() => EXIT_NEGATIVE,
            () => EXIT_SUCCESS,
        }
    }
}

impl fmt::Display for MigrationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ChannelPlan { channel, source_messages, missing_messages } in &self.planned {
            match missing_messages {
                Ok(missing) => writeln!(f, "{channel}: {missing} of {source_messages} messages to copy")?,
                Err(error) => writeln!(f, "{channel}: {}", errors::chain(error))?,
            }
        }
        if !self.planned.is_empty() {
            let missing: u64 = self.planned.iter().filter_map(|planned| planned.missing_messages.as_ref().ok()).sum();
            writeln!(f, "{} channels, {missing} messages to copy; nothing was written", self.planned.len())?;
        }
        for (channel, error) in &self.copy_errors {
            writeln!(f, "{channel} was not copied: {}", errors::chain(error))?;
        }
        if !self.copied.is_empty() {
            let messages: u64 = self.copied.iter().map(|(_, count)| count).sum();
            writeln!(f, "copied {messages} messages of {} channels", self.copied.len())?;
        }
        for (channel, difference) in &self.differences {
            writeln!(f, "{channel} differs: {}", errors::chain(difference))?;
        }
        if !self.verified.is_empty() {
            let messages: u64 = self.verified.iter().map(|(_, equal)| equal.messages).sum();
            writeln!(f, "verified {messages} messages of {} channels: equal", self.verified.len())?;
        }
        match (self.interrupted, self.copy_errors.len() + self.differences.len()) {
            (true, _) => writeln!(f, "interrupted; run the same command again to continue"),
            (false, 0) => Ok(()),
            (false, failed) => writeln!(f, "{failed} channels failed or differ"),
        }
    }
}
