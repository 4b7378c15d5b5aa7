//! Quotas of a WebSocket API: API Gateway's values, and a profile with larger ones for other environments.
//!
//! Every quota that limits memory is finite; only the lifetime and the rate limits may be absent. Sizes are inclusive:
//! a frame of exactly `frame_bytes` is allowed. The server enforces the quotas.

use std::time::Duration;

/// Rate limit: a token bucket of `burst` tokens, refilled with `per_second` tokens per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Tokens added per second.
    pub per_second: u32,
    /// Capacity of the bucket.
    pub burst: u32,
}

/// Quotas of one API.
///
/// Source of the AWS values: developer guide, `apigateway-execution-service-websocket-limits-table` and `limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotas {
    /// Maximum payload of a frame in bytes; a larger one closes the connection with 1009. AWS: 32 KiB.
    pub frame_bytes: usize,
    /// Maximum size of a message in bytes, over all its frames; a larger one closes the connection with 1009. AWS: 128
    /// KiB.
    pub message_bytes: usize,
    /// Time without a message in either direction after which the connection closes with 1001. AWS: 10 minutes.
    pub idle_timeout: Duration,
    /// Time after which a connection closes with 1001, regardless of its traffic. AWS: 2 hours.
    pub max_lifetime: Option<Duration>,
    /// Timeout of an integration, after which the client gets an error frame. AWS: 29 seconds.
    pub integration_timeout: Duration,
    /// Timeout of an authorizer. AWS documents 10 seconds for HTTP APIs and no value for WebSocket APIs.
    pub authorizer_timeout: Duration,
    /// Maximum authorizer result in bytes of JSON. AWS: 8 KiB.
    pub authorizer_result_bytes: usize,
    /// Maximum URL of a handshake in characters, path and query together. AWS: 4,096.
    pub url_chars: usize,
    /// Maximum body of a post to a connection in bytes; a larger one gets 413. AWS: 131,072 (service model, `Data` of
    /// `PostToConnection`).
    pub management_payload_bytes: usize,
    /// Maximum payload of the frames in which posted data is sent, in bytes. AWS: 32 KiB (limits table, note on
    /// @connections).
    pub outbound_frame_bytes: usize,
    /// Rate limit of new connections; further ones get 429. AWS: 500 per second, account and region.
    pub connect_rate: Option<RateLimit>,
    /// Rate limit of requests of all kinds; further ones get 429 or an error frame. AWS: 10,000 per second with a burst
    /// of 5,000.
    pub request_rate: Option<RateLimit>,
    /// Maximum routes of one API, including lifecycle routes. AWS: 300.
    pub max_routes: usize,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

impl Quotas {
    /// Returns API Gateway's quotas.
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

    /// Returns quotas for other environments: larger messages, no maximum lifetime, no rate limits.
    ///
    /// The idle timeout is one hour, so that half-open connections still close. The other timeouts are those of AWS, so
    /// that a handler that is too slow for AWS fails here as well.
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
    fn the_open_profile_never_lowers_a_size() {
        let (aws, open) = (Quotas::aws_profile(), Quotas::open_profile());
        assert!(open.frame_bytes > aws.frame_bytes && open.message_bytes > aws.message_bytes);
        assert!(open.frame_bytes <= open.message_bytes && open.idle_timeout > aws.idle_timeout);
        assert_eq!(open.max_lifetime, None);
    }
}
