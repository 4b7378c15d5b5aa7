//! Errors of signatures, with the exception names and texts of API Gateway (developer guide,
//! `supported-gateway-response-types`; texts as callers of API Gateway receive them).
//!
//! The texts contain no input of the caller, and a wrong secret and a modified request give the same error.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::Offset;

use super::claim::MAX_CLOCK_SKEW_MS;

/// Reason why a request's signature is invalid. The status is always 403.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureError {
    /// The request is not signed.
    Missing,
    /// The algorithm is not supported, or parts of the signature are missing or malformed.
    Incomplete {
        /// Whether there is a `Credential` with a complete scope.
        credential: bool,
        /// Whether there is a `Signature`.
        signature: bool,
        /// Whether `SignedHeaders` includes `host`.
        signed_headers: bool,
        /// Whether there is a valid `X-Amz-Date` and, in a query, a valid `X-Amz-Expires`.
        date: bool,
    },
    /// The access key or the session token is unknown.
    UnknownKey,
    /// The credential scope has another region.
    WrongRegion,
    /// The credential scope has another service.
    WrongService,
    /// The credential scope has another day than the request's date.
    WrongDay,
    /// The signature has expired.
    Expired {
        /// End of its validity, in milliseconds since 1970.
        until: i64,
        /// The server's time, in milliseconds since 1970.
        now: i64,
    },
    /// The signature's date is in the future.
    NotYetValid {
        /// Start of its validity, in milliseconds since 1970.
        from: i64,
        /// The server's time, in milliseconds since 1970.
        now: i64,
    },
    /// The signature does not match the request.
    Mismatch,
}

impl SignatureError {
    /// Returns the value of `x-amzn-ErrorType`.
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

    /// Returns the `message` of the body; it needs no escapes in JSON.
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

/// Formats a time as `YYYYMMDDTHHMMSSZ`.
fn format_amz_date(epoch_ms: i64) -> String {
    let at = Offset::UTC.to_datetime(Timestamp::from_millisecond(epoch_ms).unwrap_or_default());
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", at.year(), at.month(), at.day(), at.hour(), at.minute(), at.second())
}
