//! Parsers of configuration values, shared by the server and the Lambda functions.
//!
//! The error of each parser is the rule that the value violates, as text for an operator. Durations and sizes without a
//! unit are rejected, because `5` could be seconds or milliseconds.
//!
//! ```
//! use std::time::Duration;
//!
//! use handlers::config_value::{parse_duration, parse_retention_age, parse_size};
//!
//! assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
//! assert_eq!(parse_size("2KiB"), Ok(2_048));
//! assert_eq!(parse_retention_age("12h"), Ok(Duration::from_secs(43_200)));
//! assert!(parse_retention_age("59m").is_err());
//! ```

use std::time::Duration;

use bytesize::ByteSize;

/// Longest accepted duration, so that no deadline overflows.
const MAX_DURATION: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// Shortest accepted retention. With a shorter one, messages could expire while clients still receive or resume them.
pub const MIN_RETENTION_AGE: Duration = Duration::from_secs(60 * 60);
/// Longest accepted clock difference. Expired tokens are accepted for as long.
pub const MAX_LEEWAY: Duration = Duration::from_secs(10 * 60);

/// Parses a duration with its unit: `500ms`, `30s`, `5m`, `12h`, `30d`, or a sum such as `1h30m`.
///
/// # Errors
/// A description of the expected form.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    // `M` is a month to humantime; it is more likely a typing error for minutes.
    let duration = if text.contains('M') { None } else { humantime::parse_duration(text.trim()).ok() };
    duration
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| "must be a duration with a unit, at most 3650d: 500ms, 30s, 5m, 12h or 30d".to_owned())
}

/// Parses the maximum age of retained messages (`TWINWAY_RETENTION_AGE`): a duration of at least
/// [`MIN_RETENTION_AGE`].
///
/// # Errors
/// A description of the expected form.
pub fn parse_retention_age(text: &str) -> Result<Duration, String> {
    let age = parse_duration(text)?;
    if age >= MIN_RETENTION_AGE {
        Ok(age)
    } else {
        Err("must be at least 1h, because messages would expire while clients still resume them".to_owned())
    }
}

/// Parses the accepted clock difference (`TWINWAY_AUTH_LEEWAY`): a duration of at most [`MAX_LEEWAY`].
///
/// # Errors
/// A description of the expected form.
pub fn parse_leeway(text: &str) -> Result<Duration, String> {
    let leeway = parse_duration(text)?;
    if leeway <= MAX_LEEWAY {
        Ok(leeway)
    } else {
        Err("must be at most 10m, because expired tokens are accepted for this long; synchronize the clocks instead"
            .to_owned())
    }
}

/// Parses a size with its unit, such as `512B`, `2KiB` or `1MiB`, into bytes: at least 1.
///
/// # Errors
/// A description of the expected form.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    let size = text.parse::<ByteSize>().ok().filter(|size| has_unit && size.as_u64() > 0);
    size.and_then(|size| usize::try_from(size.as_u64()).ok())
        .ok_or_else(|| "must be a size with a unit: 512B, 2KiB or 1MiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_require_units() {
        for (text, millis) in
            [("500ms", 500), ("30s", 30_000), ("1h30m", 5_400_000), ("2d", 172_800_000), ("0s", 0), ("1.5s", 1_500)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "5", "s", "5 parsecs", "1M", "4000d", "-1s", "99999999999999999999s", "999999999999999999d", "1h 30"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for (text, bytes) in [("1B", 1), ("2KiB", 2_048), ("64kB", 64_000), (" 1MiB ", 1 << 20)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0B", "1024", "KiB", "-1B"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_retention_below_an_hour_is_rejected() {
        assert_eq!(parse_retention_age("1h"), Ok(MIN_RETENTION_AGE));
        assert_eq!(parse_retention_age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for text in ["59m", "3599s", "0s"] {
            assert!(parse_retention_age(text).unwrap_err().contains("at least 1h"), "{text}");
        }
        assert_eq!(parse_retention_age("60"), parse_duration("60"), "the unit is missing");
    }
}
