//! Time formats of API Gateway: Common Log Format in events, ISO 8601 with milliseconds in `GetConnection`.
//!
//! `requestTime` and `requestTimeEpoch` of an event are the same instant (EV-12). All times are UTC. Times outside the
//! years 1970 to 9998 are clamped to that range, because neither format can represent them.

use std::fmt;
use std::ops::Deref;

use jiff::Timestamp;
use jiff::tz::Offset;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
/// End of the year 9998; the range of `jiff` ends within 9999, to allow for time zones.
const MAX_EPOCH_MS: i64 = 253_370_764_799_999;
const CLF_BYTES: usize = 26;

/// `dd/MMM/yyyy:HH:mm:ss +0000`, for example `21/Nov/2026:04:05:06 +0000`, stored inline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClfTime([u8; CLF_BYTES]);

/// Time of an event in the two forms that the event contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTime {
    /// Milliseconds since 1970 (`requestTimeEpoch`).
    pub epoch_ms: i64,
    /// The same instant as text (`requestTime`).
    pub clf: ClfTime,
}

/// Cache of the last rendered second, because a busy connection has many events per second.
#[derive(Debug, Clone, Default)]
pub struct ClfCache {
    last: Option<(i64, ClfTime)>,
}

impl ClfTime {
    /// Renders `epoch_ms` (milliseconds since 1970).
    #[must_use]
    pub fn from_epoch_ms(epoch_ms: i64) -> Self {
        let at = civil_time(epoch_ms);
        let mut text = *b"dd/MMM/yyyy:HH:mm:ss +0000";
        put_digits(&mut text[0..2], at.day().unsigned_abs().into());
        text[3..6].copy_from_slice(MONTHS[usize::from(at.month().unsigned_abs()) - 1]);
        put_digits(&mut text[7..11], at.year().unsigned_abs());
        put_digits(&mut text[12..14], at.hour().unsigned_abs().into());
        put_digits(&mut text[15..17], at.minute().unsigned_abs().into());
        put_digits(&mut text[18..20], at.second().unsigned_abs().into());
        Self(text)
    }

    /// Returns the time as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl EventTime {
    /// Creates the time `epoch_ms` (milliseconds since 1970).
    #[must_use]
    pub fn from_epoch_ms(epoch_ms: i64) -> Self {
        Self { epoch_ms, clf: ClfTime::from_epoch_ms(epoch_ms) }
    }
}

impl ClfCache {
    /// Returns the time `epoch_ms`; the text is rendered only when the second has changed.
    pub fn event_time(&mut self, epoch_ms: i64) -> EventTime {
        let second = epoch_ms.div_euclid(1000);
        let clf = match self.last {
            Some((cached, clf)) if cached == second => clf,
            _ => ClfTime::from_epoch_ms(epoch_ms),
        };
        self.last = Some((second, clf));
        EventTime { epoch_ms, clf }
    }
}

/// Formats a time as in `GetConnection`: `2026-11-21T04:05:06.007Z` (CX-10).
#[must_use]
pub fn iso_8601_ms(epoch_ms: i64) -> String {
    let at = Timestamp::from_millisecond(epoch_ms.clamp(0, MAX_EPOCH_MS)).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

fn civil_time(epoch_ms: i64) -> jiff::civil::DateTime {
    let clamped = epoch_ms.clamp(0, MAX_EPOCH_MS);
    Offset::UTC.to_datetime(Timestamp::from_millisecond(clamped).unwrap_or(Timestamp::UNIX_EPOCH))
}

fn put_digits(target: &mut [u8], mut number: u16) {
    for digit in target.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
}

impl serde::Serialize for ClfTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Deref for ClfTime {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for ClfTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ev_12_request_time_is_common_log_format_in_utc() {
        assert_eq!(ClfTime::from_epoch_ms(1_731_324_924_561).as_str(), "11/Nov/2024:11:35:24 +0000");
        assert_eq!(ClfTime::from_epoch_ms(0).as_str(), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(ClfTime::from_epoch_ms(1_709_164_800_000).as_str(), "29/Feb/2024:00:00:00 +0000");
    }

    #[test]
    fn ev_12_the_cache_never_returns_another_second() {
        let mut cache = ClfCache::default();
        for ms in [1_000, 1_999, 2_000, 1_999, 61_000, -1] {
            assert_eq!(cache.event_time(ms), EventTime::from_epoch_ms(ms), "at {ms}");
        }
    }

    #[test]
    fn cx_10_management_times_have_milliseconds_and_z() {
        assert_eq!(iso_8601_ms(1_738_547_193_523), "2025-02-03T01:46:33.523Z");
        assert_eq!(iso_8601_ms(7), "1970-01-01T00:00:00.007Z");
    }

    #[test]
    fn times_outside_the_range_are_clamped() {
        assert_eq!(ClfTime::from_epoch_ms(i64::MIN).as_str(), "01/Jan/1970:00:00:00 +0000");
        assert_eq!(iso_8601_ms(i64::MAX), "9998-12-31T23:59:59.999Z");
    }
}
