//! Connection, message and request ids in API Gateway's format: 16 characters `^[A-Za-z0-9_-]{15}=$`, URL-safe base64
//! of 11 bytes (ID-1 to ID-5).
//!
//! ```text
//! byte                0..8                      8       9..11
//! connection          64 unpredictable bits     kind    node id
//! message             64 unique bits            kind    node id
//! request             time, 25 ms, and unique   kind    unique
//! ```
//! A [`GatewayId`] is always well-formed. Other ids reveal nothing about the id of a connection but its node: no
//! part of it is a time, a counter, or an output of the generator of the other ids (ADR 23).

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
/// Resolution of the four leading bytes of request ids, which advance 40 times per second in observed ids.
const TICK_MS: i64 = 25;

/// A connection, message or request id: 16 ASCII bytes, stored inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId([u8; TEXT_BYTES]);

/// Error of parsing a text that API Gateway cannot have issued as an id (`@connections` responds with 400, not 410).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 16 characters: 15 of letters, digits, '-' and '_', then '='")]
pub struct GatewayIdError;

impl GatewayId {
    /// Returns the id of a connection on the node id `node`. `entropy` must come from a cryptographically secure
    /// generator, because a guessed id can be used at `@connections`.
    #[must_use]
    pub fn for_connection(entropy: u64, node: u16) -> Self {
        Self::with_node(entropy, node)
    }

    /// Returns the id of a message of `connection`; both ids have the same trailing characters (ID-3). `entropy` makes
    /// it unique. It has no other part of the connection's id, because functions may show message ids to other clients.
    #[must_use]
    pub fn for_message(entropy: u64, connection: GatewayId) -> Self {
        Self::with_node(entropy, connection.node_id())
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

    fn with_node(unique: u64, node: u16) -> Self {
        let [u0, u1, u2, u3, u4, u5, u6, u7] = unique.to_be_bytes();
        let [n0, n1] = node.to_be_bytes();
        Self::encode([u0, u1, u2, u3, u4, u5, u6, u7, CONNECTION_KIND, n0, n1])
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
/// a probability of 2^-48, and those of one connection never repeat within a tick. The ids of events are not secret:
/// `seed` must not be derived from the entropy of connection ids.
#[derive(Debug, Clone)]
pub struct EventIds {
    connection: GatewayId,
    entropy: SplitMix64,
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
        Self { connection, entropy: SplitMix64::new(seed) }
    }

    /// Returns a new request id.
    pub fn next_request_id(&mut self, epoch_ms: i64) -> GatewayId {
        GatewayId::for_request(epoch_ms, self.entropy.next_u64_mut())
    }

    /// Returns a new message id.
    pub fn next_message_id(&mut self) -> GatewayId {
        GatewayId::for_message(self.entropy.next_u64_mut(), self.connection)
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

#[cfg(test)]
mod tests;
