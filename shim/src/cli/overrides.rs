//! Command line flags, generated from the table of configuration keys.
//!
//! clap's derive would repeat each key; with the table, a new key with a flag needs no change here.

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::FlagValues;
use crate::config::keys::{ConfigKey, DefaultValue, KEYS};

/// Values of the flags, by key path.
#[derive(Debug, Clone, Default)]
pub(super) struct FlagOverrides(FlagValues);

impl FlagOverrides {
    pub(super) const fn flag_values(&self) -> &FlagValues {
        &self.0
    }

    /// Returns whether a flag sets the key.
    pub(super) fn has_flag(&self, path: &str) -> bool {
        self.0.contains(path)
    }

    /// Returns the flags with another value, unless a flag sets the key.
    pub(super) fn with_default(&self, path: &'static str, value: &str) -> Self {
        Self(self.0.with_default(path, value))
    }
}

impl Args for FlagOverrides {
    fn augment_args(command: Command) -> Command {
        KEYS.iter().fold(command, |command, key| match key.flag {
            Some(flag) => command.arg(flag_argument(key, flag)),
            None => command,
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FlagOverrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = KEYS.iter().filter_map(|key| {
            let value = matches.get_one::<String>(key.flag?)?;
            Some((key.path, value.clone()))
        });
        Ok(Self(FlagValues::new(given)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn flag_argument(key: &'static ConfigKey, flag: &'static str) -> Arg {
    let default = match key.default {
        DefaultValue::Unset => String::new(),
        DefaultValue::AllModes(value) => format!(" [default: {value}]"),
        DefaultValue::ByMode { embedded, other_modes } => {
            format!(" [default: {embedded}, in other modes {other_modes}]")
        }
    };
    let sentence = key.doc.split_once(". ").map_or(key.doc, |(first, _)| first).trim_end_matches('.');
    let help = format!("{sentence} [env: {}]{default}", key.env).replace('`', "");
    Arg::new(flag).long(flag).value_name("VALUE").help(help).help_heading("Settings")
}
