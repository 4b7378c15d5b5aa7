//! Why a signature does not hold, with the exception names and texts of API Gateway (developer guide,
//! `supported-gateway-response-types`; texts as callers of API Gateway see them).
//!
//! Invariant: nothing the caller sent is repeated, and a wrong secret and a changed request look the same.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::Offset;

use super::claim::MAX_CLOCK_SKEW_MS;

/// Why a request's signature does not hold. The status is always 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureError {
    /// The request is not signed.
    Missing,
    /// It is signed with something else, or parts of the signature are missing.
    Incomplete {
        /// There is a `Credential` with a whole scope.
        credential: bool,
        /// There is a `Signature`.
        signature: bool,
        /// There are `SignedHeaders`, `host` among them.
        signed_headers: bool,
        /// There is an `X-Amz-Date`.
        date: bool,
    },
    /// The access key or the session token is nobody's.
    UnknownKey,
    /// The credential scope names another region.
    WrongRegion,
    /// The credential scope names another service.
    WrongService,
    /// The credential scope names another day than the request's date.
    WrongDay,
    /// The signature is too old.
    Expired {
        /// When it stopped being good, in milliseconds since 1970.
        until: i64,
        /// The time here, likewise.
        now: i64,
    },
    /// The signature is of the future.
    NotYetValid {
        /// When it will begin to be good, in milliseconds since 1970.
        from: i64,
        /// The time here, likewise.
        now: i64,
    },
    /// The signature is another.
    Mismatch,
}

impl SignatureError {
    /// The value of `x-amzn-ErrorType`.
    #[must_use]
    pub const fn error_type(self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete { .. } => "IncompleteSignatureException",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::WrongRegion
            | Self::WrongService
            | Self::WrongDay
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::Mismatch => "InvalidSignatureException",
        }
    }

    /// The `message` of the body; it needs no escapes in JSON.
    #[must_use]
    pub fn message(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Missing => "Missing Authentication Token",
            Self::Incomplete { credential, signature, signed_headers, date } => {
                return incomplete_message([credential, signature, signed_headers], date).into();
            }
            Self::UnknownKey => "The security token included in the request is invalid.",
            Self::WrongRegion => "Credential should be scoped to a valid region. ",
            Self::WrongService => "Credential should be scoped to correct service: 'execute-api'. ",
            Self::WrongDay => {
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP"
            }
            Self::Expired { until, now } => {
                let (until, limit, now) = (
                    format_amz_date(until),
                    format_amz_date(now.saturating_sub(MAX_CLOCK_SKEW_MS)),
                    format_amz_date(now),
                );
                return format!("Signature expired: {until} is now earlier than {limit} ({now} - 5 min.)").into();
            }
            Self::NotYetValid { from, now } => {
                let (from, limit, now) = (
                    format_amz_date(from),
                    format_amz_date(now.saturating_add(MAX_CLOCK_SKEW_MS)),
                    format_amz_date(now),
                );
                return format!("Signature not yet current: {from} is still later than {limit} ({now} + 5 min.)")
                    .into();
            }
            Self::Mismatch => {
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                 Access Key and signing method. Consult the service documentation for details."
            }
        })
    }
}

fn incomplete_message(present: [bool; 3], date: bool) -> String {
    let mut text = String::new();
    for (name, present) in ["Credential", "Signature", "SignedHeaders"].into_iter().zip(present) {
        if !present {
            text.push_str(&format!("Authorization header requires '{name}' parameter. "));
        }
    }
    if !date {
        text.push_str("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ");
    }
    text
}

/// `YYYYMMDDTHHMMSSZ`, as signatures write times.
fn format_amz_date(epoch_ms: i64) -> String {
    let at = Offset::UTC.to_datetime(Timestamp::from_millisecond(epoch_ms).unwrap_or_default());
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", at.year(), at.month(), at.day(), at.hour(), at.minute(), at.second())
}
