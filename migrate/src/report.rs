//! What came of it, in words and as an exit code.

use std::fmt;

use handlers::channel::Channel;
use shim::exit_code::{DONE, NEGATIVE, UNFINISHED};

use crate::copy::CopyError;
use crate::plan::ChannelPlan;
use crate::verify::{VerifiedChannel, VerifyError};

/// What came of a whole run.
#[derive(Debug, Default)]
pub struct MigrationReport {
    /// What there was to do, when nothing was to be done.
    pub planned: Vec<ChannelPlan>,
    /// Channels that were copied, with how many messages that were.
    pub copied: Vec<(Channel, u64)>,
    /// Channels that were compared and are equal.
    pub verified: Vec<(Channel, VerifiedChannel)>,
    /// Channels that could not be copied.
    pub copy_errors: Vec<(Channel, CopyError)>,
    /// Channels that are different.
    pub differences: Vec<(Channel, VerifyError)>,
    /// Whether it was stopped before the end.
    pub interrupted: bool,
}

impl MigrationReport {
    /// The exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let planned = self.planned.iter().any(|planned| planned.missing_messages.is_err());
        match () {
            () if self.interrupted => UNFINISHED,
            () if planned || !self.copy_errors.is_empty() || !self.differences.is_empty() => NEGATIVE,
            () => DONE,
        }
    }
}

impl fmt::Display for MigrationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ChannelPlan { channel, source_messages: there, missing_messages: missing } in &self.planned {
            match missing {
                Ok(missing) => writeln!(f, "{channel}: {missing} of {there} messages to copy")?,
                Err(fault) => writeln!(f, "{channel}: {}", errors::chain(fault))?,
            }
        }
        if !self.planned.is_empty() {
            let missing: u64 = self.planned.iter().filter_map(|planned| planned.missing_messages.as_ref().ok()).sum();
            writeln!(f, "{} channels, {missing} messages to copy; nothing was written", self.planned.len())?;
        }
        for (channel, fault) in &self.copy_errors {
            writeln!(f, "{channel} was not copied: {}", errors::chain(fault))?;
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
            (true, _) => writeln!(f, "interrupted; the same command goes on"),
            (false, 0) => Ok(()),
            (false, wrong) => writeln!(f, "{wrong} channels are not as they should be"),
        }
    }
}
