//! Connection, message and request ids in API Gateway's format: 16 characters `^[A-Za-z0-9_-]{15}=$`, URL-safe base64
//! of 11 bytes (ID-1 to ID-5).
//!
//! ```text
//! byte   0..4            4..8                      8       9..11
//!        time, 25 ms     unique within the tick    kind    node id (connection, message) or random (request)
//! ```
//! A [`GatewayId`] is always well-formed. The caller's counters make ids unique: a counter is permuted by a bijection,
//! so ids of one source within the same tick differ. Ids are not secret.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

const TEXT_BYTES: usize = 16;
const RAW_BYTES: usize = 11;
/// Connection and message ids carry 2 in byte 8, request ids 5 (observed, ID-4).
const CONNECTION_KIND: u8 = 2;
const REQUEST_KIND: u8 = 5;
/// Resolution of the four leading bytes, which advance 40 times per second in observed ids.
const TICK_MS: i64 = 25;

/// A connection, message or request id: 16 ASCII bytes, stored inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId([u8; TEXT_BYTES]);

/// Error of parsing a text that API Gateway cannot have issued as an id (`@connections` responds with 400, not 410).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 16 characters: 15 of letters, digits, '-' and '_', then '='")]
pub struct GatewayIdError;

impl GatewayId {
    /// Returns the id of a connection that started at `epoch_ms` on the node id `node`; `sequence` counts that node's
    /// connections.
    ///
    /// Ids differ when the node id, the 25 ms tick or `sequence` differs.
    #[must_use]
    pub fn for_connection(epoch_ms: i64, sequence: u32, node: u16) -> Self {
        let [u0, u1, u2, u3] = permute_u32(sequence).to_be_bytes();
        let [n0, n1] = node.to_be_bytes();
        let [t0, t1, t2, t3] = tick_bytes(epoch_ms);
        Self::encode([t0, t1, t2, t3, u0, u1, u2, u3, CONNECTION_KIND, n0, n1])
    }

    /// Returns the id of message number `sequence` of `connection`; both ids have the same trailing characters (ID-3).
    #[must_use]
    pub fn for_message(epoch_ms: i64, sequence: u16, connection: GatewayId) -> Self {
        let mut raw = connection.raw_bytes();
        raw[..4].copy_from_slice(&tick_bytes(epoch_ms));
        let [s0, s1] = sequence.wrapping_mul(0x9E37).to_be_bytes();
        (raw[4], raw[5]) = (raw[4] ^ s0, raw[5] ^ s1);
        Self::encode(raw)
    }

    /// Returns the id of a request (an event) at `epoch_ms`; the low 48 bits of `entropy` make it unique within its
    /// tick.
    #[must_use]
    pub fn for_request(epoch_ms: i64, entropy: u64) -> Self {
        let [_, _, e0, e1, e2, e3, e4, e5] = entropy.to_be_bytes();
        let [t0, t1, t2, t3] = tick_bytes(epoch_ms);
        Self::encode([t0, t1, t2, t3, e0, e1, e2, e3, REQUEST_KIND, e4, e5])
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Returns the node id in the last two bytes, which connection and message ids have.
    #[must_use]
    pub fn node_id(&self) -> u16 {
        let raw = self.raw_bytes();
        u16::from_be_bytes([raw[9], raw[10]])
    }

    fn encode(raw: [u8; RAW_BYTES]) -> Self {
        let mut text = [b'='; TEXT_BYTES];
        URL_SAFE.encode_slice(raw, &mut text).expect("11 bytes are 16 characters of base64");
        Self(text)
    }

    fn raw_bytes(&self) -> [u8; RAW_BYTES] {
        decode_id(&self.0).expect("every constructor encodes or validates the text")
    }
}

/// Parses an id: checks alphabet, length, and that it decodes to 11 bytes (ID-4).
///
/// # Errors
/// [`GatewayIdError`] for a text that API Gateway cannot have issued.
pub fn parse_gateway_id(text: &str) -> Result<GatewayId, GatewayIdError> {
    let bytes: [u8; TEXT_BYTES] = text.as_bytes().try_into().map_err(|_| GatewayIdError)?;
    decode_id(&bytes).ok_or(GatewayIdError)?;
    Ok(GatewayId(bytes))
}

/// SplitMix64 generator (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): uniformly
/// distributed numbers without repetition within 2^64 calls. Not suitable for secrets.
///
/// Threads can share a generator: each call is one `fetch_add`. Generators with different random seeds give different
/// sequences.
///
/// ```
/// let numbers = gateway::id::SplitMix64::new(42);
/// assert_ne!(numbers.next_u64(), numbers.next_u64());
/// ```
#[derive(Debug)]
pub struct SplitMix64(AtomicU64);

/// Generator of the message and request ids of one connection's events.
///
/// `seed` must differ between connections. Request ids of different connections then collide within one 25 ms tick with
/// a probability of 2^-48, and those of one connection never repeat within a tick.
#[derive(Debug, Clone)]
pub struct EventIds {
    connection: GatewayId,
    request_entropy: SplitMix64,
    message_count: u16,
}

impl SplitMix64 {
    /// Increment of the state; odd, so that the state takes all 2^64 values.
    const INCREMENT: u64 = 0x9E37_79B9_7F4A_7C15;

    /// Creates a generator.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Returns the next number.
    pub fn next_u64(&self) -> u64 {
        Self::mix(self.0.fetch_add(Self::INCREMENT, Ordering::Relaxed))
    }

    /// Returns the next number without an atomic operation, for a generator that is not shared.
    pub fn next_u64_mut(&mut self) -> u64 {
        let state = self.0.get_mut();
        let current = *state;
        *state = current.wrapping_add(Self::INCREMENT);
        Self::mix(current)
    }

    const fn mix(state: u64) -> u64 {
        let n = state.wrapping_add(Self::INCREMENT);
        let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        n ^ (n >> 31)
    }
}

/// The clone returns the same numbers as the original.
impl Clone for SplitMix64 {
    fn clone(&self) -> Self {
        Self::new(self.0.load(Ordering::Relaxed))
    }
}

impl EventIds {
    /// Creates the generator of `connection`.
    #[must_use]
    pub const fn new(connection: GatewayId, seed: u64) -> Self {
        Self { connection, request_entropy: SplitMix64::new(seed), message_count: 0 }
    }

    /// Returns a new request id.
    pub fn next_request_id(&mut self, epoch_ms: i64) -> GatewayId {
        GatewayId::for_request(epoch_ms, self.request_entropy.next_u64_mut())
    }

    /// Returns a new message id.
    pub fn next_message_id(&mut self, epoch_ms: i64) -> GatewayId {
        self.message_count = self.message_count.wrapping_add(1);
        GatewayId::for_message(epoch_ms, self.message_count, self.connection)
    }
}

impl Deref for GatewayId {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for GatewayId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl serde::Serialize for GatewayId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

fn decode_id(text: &[u8; TEXT_BYTES]) -> Option<[u8; RAW_BYTES]> {
    // The decoder requires a buffer for whole quanta (12 bytes), although the padded last one decodes to two bytes.
    let mut raw = [0; 12];
    let written = URL_SAFE.decode_slice(text, &mut raw).ok()?;
    (written == RAW_BYTES).then(|| {
        let mut exact = [0; RAW_BYTES];
        exact.copy_from_slice(&raw[..RAW_BYTES]);
        exact
    })
}

fn tick_bytes(epoch_ms: i64) -> [u8; 4] {
    let [_, _, _, _, t0, t1, t2, t3] = epoch_ms.div_euclid(TICK_MS).to_be_bytes();
    [t0, t1, t2, t3]
}

/// Permutes the 32-bit numbers, so that consecutive ones look unrelated. Every step is invertible.
const fn permute_u32(n: u32) -> u32 {
    let n = (n ^ (n >> 16)).wrapping_mul(0x7FEB_352D);
    let n = (n ^ (n >> 15)).wrapping_mul(0x846C_A68B);
    n ^ (n >> 16)
}

#[cfg(test)]
mod tests;
