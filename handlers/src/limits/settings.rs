//! Configuration keys of the limits: name, unit and upper bound.

use std::time::Duration;

use super::Limits;
use crate::config_value::{parse_duration, parse_size};

/// Prefix of the environment variables of all limits.
const VARIABLE_PREFIX: &str = "TWINWAY_LIMITS_";

/// Configuration key of one limit.
#[derive(Debug, Clone, Copy)]
pub struct LimitKey {
    /// Key in the server's configuration file, such as `limits.body_bytes`.
    pub path: &'static str,
    /// Environment variable of the server and of the Lambda functions.
    pub env: &'static str,
    unit: LimitUnit,
}

#[derive(Debug, Clone, Copy)]
enum LimitUnit {
    Bytes(fn(&mut Limits) -> &mut usize),
    Count(fn(&mut Limits) -> &mut usize),
    LongCount(fn(&mut Limits) -> &mut u64),
    Time(fn(&mut Limits) -> &mut Duration),
}

const fn key(path: &'static str, env: &'static str, unit: LimitUnit) -> LimitKey {
    LimitKey { path, env, unit }
}

impl Limits {
    /// The configuration keys of all limits.
    pub const KEYS: [LimitKey; 8] = [
        key("limits.body_bytes", "TWINWAY_LIMITS_BODY_BYTES", LimitUnit::Bytes(|limits| &mut limits.body_bytes)),
        key(
            "limits.history_messages",
            "TWINWAY_LIMITS_HISTORY_MESSAGES",
            LimitUnit::Count(|limits| &mut limits.history_messages),
        ),
        key(
            "limits.push_messages",
            "TWINWAY_LIMITS_PUSH_MESSAGES",
            LimitUnit::Count(|limits| &mut limits.push_messages),
        ),
        key(
            "limits.resume_messages",
            "TWINWAY_LIMITS_RESUME_MESSAGES",
            LimitUnit::LongCount(|limits| &mut limits.resume_messages),
        ),
        key("limits.resume_bytes", "TWINWAY_LIMITS_RESUME_BYTES", LimitUnit::Bytes(|limits| &mut limits.resume_bytes)),
        key("limits.resume_time", "TWINWAY_LIMITS_RESUME_TIME", LimitUnit::Time(|limits| &mut limits.resume_time)),
        key(
            "limits.listed_members",
            "TWINWAY_LIMITS_LISTED_MEMBERS",
            LimitUnit::Count(|limits| &mut limits.listed_members),
        ),
        key(
            "limits.counted_members",
            "TWINWAY_LIMITS_COUNTED_MEMBERS",
            LimitUnit::Count(|limits| &mut limits.counted_members),
        ),
    ];

    /// Checks the name of an environment variable: one that starts with `TWINWAY_LIMITS_` must be that of a limit.
    ///
    /// # Errors
    /// The rule that the name violates, as text for an operator.
    ///
    /// ```
    /// use handlers::limits::Limits;
    ///
    /// assert!(Limits::check_variable_name("TWINWAY_LIMITS_BODY_BYTES").is_ok());
    /// assert!(Limits::check_variable_name("PATH").is_ok());
    /// assert!(Limits::check_variable_name("TWINWAY_LIMITS_BODY_SIZE").is_err());
    /// ```
    pub fn check_variable_name(name: &str) -> Result<(), String> {
        if !name.starts_with(VARIABLE_PREFIX) || Self::KEYS.iter().any(|key| key.env == name) {
            return Ok(());
        }
        Err(format!("is not the variable of a limit; the limits are {}", Self::KEYS.map(|key| key.env).join(", ")))
    }

    /// Sets the limit with this path to a value from 1 to its default.
    ///
    /// # Errors
    /// The rule that the value violates, as text for an operator.
    ///
    /// # Panics
    /// Panics if no limit has this path.
    pub fn set(&mut self, path: &str, text: &str) -> Result<(), String> {
        let key = Self::KEYS.iter().find(|key| key.path == path);
        let key = key.unwrap_or_else(|| panic!("no limit is called {path}"));
        let (text, mut defaults) = (text.trim(), Self::default());
        match key.unit {
            LimitUnit::Bytes(field) => {
                let max = *field(&mut defaults);
                let rule = || format!("must be a size from 1B to {}, such as 4KiB", bytesize::ByteSize(max as u64));
                *field(self) = parse_size(text).ok().filter(|bytes| *bytes <= max).ok_or_else(rule)?;
            }
            LimitUnit::Count(field) => *field(self) = whole_number(text, *field(&mut defaults))?,
            LimitUnit::LongCount(field) => *field(self) = whole_number(text, *field(&mut defaults))?,
            LimitUnit::Time(field) => {
                let max = *field(&mut defaults);
                let rule = || format!("must be a duration from 1ms to {}", humantime::format_duration(max));
                let range = Duration::from_millis(1)..=max;
                let time = parse_duration(text).ok().filter(|time| range.contains(time));
                *field(self) = time.ok_or_else(rule)?;
            }
        }
        Ok(())
    }
}

fn whole_number<N>(text: &str, max: N) -> Result<N, String>
where
    N: std::str::FromStr + PartialOrd + From<u8> + std::fmt::Display,
{
    let number = text.parse::<N>().ok().filter(|number| *number >= N::from(1) && *number <= max);
    number.ok_or_else(|| format!("must be a whole number from 1 to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_rejected_with_the_names_of_all_limits() {
        let rule = Limits::check_variable_name("TWINWAY_LIMITS_BODY_BYTE").unwrap_err();
        for key in Limits::KEYS {
            assert!(rule.contains(key.env), "{rule}");
            assert_eq!(Limits::check_variable_name(key.env), Ok(()));
        }
    }

    #[test]
    fn every_limit_can_be_lowered_and_none_raised() {
        for key in Limits::KEYS {
            let (low, high) = match key.unit {
                LimitUnit::Bytes(_) => ("1KiB", "1GiB"),
                LimitUnit::Count(_) | LimitUnit::LongCount(_) => ("1", "1000000"),
                LimitUnit::Time(_) => ("1s", "1h"),
            };
            let mut limits = Limits::default();
            assert_eq!(limits.set(key.path, low), Ok(()), "{}", key.path);
            assert_ne!(limits, Limits::default(), "{} changes nothing", key.path);
            for bad in [high, "", "0", "-1", "many"] {
                assert!(limits.set(key.path, bad).is_err(), "{} accepted {bad:?}", key.path);
            }
        }
    }
}
