//! The quotas of a WebSocket API: API Gateway's own to the letter, and a lifted set for everywhere else.
//!
//! Invariant: every bound is finite where memory depends on it; only durations and rates may be absent. Sizes are bytes
//! and inclusive: a frame of exactly `frame_bytes` is allowed. This module counts nothing; it only says how much is
//! allowed.

use std::time::Duration;

/// How often something may happen: a token bucket refilled at `per_second` that holds `burst` tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Tokens added every second.
    pub per_second: u32,
    /// Tokens the bucket holds when full.
    pub burst: u32,
}

/// The bounds of one API.
///
/// Source of the AWS values: developer guide, `apigateway-execution-service-websocket-limits-table` and `limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotas {
    /// Largest payload of one frame in bytes; beyond it the connection closes with 1009. AWS: 32 KiB.
    pub frame_bytes: usize,
    /// Largest message in bytes, all its frames together; beyond it the connection closes with 1009. AWS: 128 KiB.
    pub message_bytes: usize,
    /// A connection without a message in either direction for this long is closed with 1001. AWS: 10 minutes.
    pub idle_timeout: Duration,
    /// A connection is closed with 1001 this long after it began, whatever its traffic. AWS: 2 hours.
    pub max_lifetime: Option<Duration>,
    /// How long an integration may take before the client is told of a time-out. AWS: 29 seconds.
    pub integration_timeout: Duration,
    /// How long an authorizer may take. AWS states 10 seconds for HTTP APIs and nothing for WebSocket APIs.
    pub authorizer_timeout: Duration,
    /// Largest authorizer result in bytes of JSON. AWS: 8 KiB.
    pub authorizer_result_bytes: usize,
    /// Longest URL of a handshake in characters, path and query together. AWS: 4,096.
    pub url_chars: usize,
    /// Largest body of a post to a connection in bytes; beyond it 413. AWS: 131,072 (service model, `Data` of
    /// `PostToConnection`).
    pub management_payload_bytes: usize,
    /// Posted data is sent in frames of at most this many bytes. AWS: 32 KiB (limits table, note on @connections).
    pub outbound_frame_bytes: usize,
    /// New connections per second; beyond it 429. AWS: 500 per account and region.
    pub connect_rate: Option<RateLimit>,
    /// Requests of every kind per second; beyond it 429 or an error frame. AWS: 10,000 with a burst of 5,000.
    pub request_rate: Option<RateLimit>,
    /// Most routes of one API, lifecycle routes included. AWS: 300.
    pub max_routes: usize,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl Quotas {
    /// API Gateway's quotas to the letter.
    #[must_use]
    pub const fn aws_profile() -> Self {
        Self {
            frame_bytes: 32 * KIB,
            message_bytes: 128 * KIB,
            idle_timeout: Duration::from_secs(10 * 60),
            max_lifetime: Some(Duration::from_secs(2 * 60 * 60)),
            integration_timeout: Duration::from_secs(29),
            authorizer_timeout: Duration::from_secs(10),
            authorizer_result_bytes: 8 * KIB,
            url_chars: 4096,
            management_payload_bytes: 128 * KIB,
            outbound_frame_bytes: 32 * KIB,
            connect_rate: Some(RateLimit { per_second: 500, burst: 500 }),
            request_rate: Some(RateLimit { per_second: 10_000, burst: 5_000 }),
            max_routes: 300,
        }
    }

    /// Lifted quotas for clusters and laptops: larger messages, no forced reconnect, no rates; memory stays bounded.
    ///
    /// The idle time is one hour, so that half-open connections still end; time-outs stay AWS's, because a handler that
    /// needs longer would fail there without a chance to be noticed here.
    #[must_use]
    pub const fn open_profile() -> Self {
        Self {
            frame_bytes: MIB,
            message_bytes: 4 * MIB,
            idle_timeout: Duration::from_secs(60 * 60),
            max_lifetime: None,
            authorizer_result_bytes: 64 * KIB,
            url_chars: 8192,
            management_payload_bytes: 4 * MIB,
            outbound_frame_bytes: MIB,
            connect_rate: None,
            request_rate: None,
            ..Self::aws_profile()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fr_5_sizes_are_powers_of_two() {
        let quotas = Quotas::aws_profile();
        assert_eq!((quotas.frame_bytes, quotas.message_bytes), (32_768, 131_072));
        assert_eq!(quotas.management_payload_bytes, 131_072);
    }

    #[test]
    fn open_lifts_every_size_and_never_lowers_one() {
        let (aws, open) = (Quotas::aws_profile(), Quotas::open_profile());
        assert!(open.frame_bytes > aws.frame_bytes && open.message_bytes > aws.message_bytes);
        assert!(open.frame_bytes <= open.message_bytes && open.idle_timeout > aws.idle_timeout);
        assert_eq!(open.max_lifetime, None);
    }
}
