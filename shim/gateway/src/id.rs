//! Identifiers as API Gateway makes them: 16 characters `^[A-Za-z0-9_-]{15}=$`, URL-safe base64 of 11 bytes (ID-1 to
//! ID-5).
//!
//! ```text
//! byte   0..4            4..8                      8       9..11
//!        time, 25 ms     unique within the tick    kind    node (connection, message) or noise (request)
//! ```
//! Invariant: a [`GatewayId`] is always well-formed. Uniqueness rests on the caller's counters: ids of one source that
//! share a tick differ because the counter is mixed by a bijection, not drawn at random. Ids are names, not secrets.

use std::fmt;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

const TEXT_BYTES: usize = 16;
const RAW_BYTES: usize = 11;
/// Connection and message ids carry 2 in byte 8, request ids 5 (observed, ID-4).
const CONNECTION_KIND: u8 = 2;
const REQUEST_KIND: u8 = 5;
/// The four leading bytes of observed ids advance 40 times a second.
const TICK_MS: i64 = 25;

/// A connection, message or request id: 16 ASCII bytes, held inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId([u8; TEXT_BYTES]);

/// A text that no API Gateway could have issued as an id (`@connections` answers 400, not 410).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 16 characters: 15 of letters, digits, '-' and '_', then '='")]
pub struct GatewayIdError;

impl GatewayId {
    /// The id of a connection that began at `epoch_ms` on `node`; `sequence` is the node's count of connections.
    ///
    /// Two ids differ when node, 25 ms tick or `sequence` differ.
    #[must_use]
    pub fn for_connection(epoch_ms: i64, sequence: u32, node: u16) -> Self {
        let [u0, u1, u2, u3] = permute_u32(sequence).to_be_bytes();
        let [n0, n1] = node.to_be_bytes();
        let [t0, t1, t2, t3] = tick_bytes(epoch_ms);
        Self::encode([t0, t1, t2, t3, u0, u1, u2, u3, CONNECTION_KIND, n0, n1])
    }

    /// The id of the `sequence`th message of `connection`; it shares the trailing characters with it (ID-3).
    #[must_use]
    pub fn for_message(epoch_ms: i64, sequence: u16, connection: GatewayId) -> Self {
        let mut raw = connection.raw_bytes();
        raw[..4].copy_from_slice(&tick_bytes(epoch_ms));
        let [s0, s1] = sequence.wrapping_mul(0x9E37).to_be_bytes();
        (raw[4], raw[5]) = (raw[4] ^ s0, raw[5] ^ s1);
        Self::encode(raw)
    }

    /// The id of a request (an event) at `epoch_ms`; the low 48 bits of `entropy` tell it from others of its tick.
    #[must_use]
    pub fn for_request(epoch_ms: i64, entropy: u64) -> Self {
        let [_, _, e0, e1, e2, e3, e4, e5] = entropy.to_be_bytes();
        let [t0, t1, t2, t3] = tick_bytes(epoch_ms);
        Self::encode([t0, t1, t2, t3, e0, e1, e2, e3, REQUEST_KIND, e4, e5])
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The node in the last two bytes. Meaningful for connection and message ids only.
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
        decode_id(&self.0).expect("the text was encoded or checked when the id was made")
    }
}

/// Takes `text` as an id when API Gateway could have issued it: alphabet, length, and 11 bytes when decoded (ID-4).
///
/// # Errors
/// [`GatewayIdError`] otherwise.
pub fn parse_gateway_id(text: &str) -> Result<GatewayId, GatewayIdError> {
    let bytes: [u8; TEXT_BYTES] = text.as_bytes().try_into().map_err(|_| GatewayIdError)?;
    decode_id(&bytes).ok_or(GatewayIdError)?;
    Ok(GatewayId(bytes))
}

/// The ids of one connection's events, without a draw of random numbers per event.
///
/// `seed` must differ between connections; request ids of different connections then collide within one 25 ms tick with
/// a probability of 2^-48, and those of one connection never repeat within a tick.
#[derive(Debug, Clone)]
pub struct EventIds {
    connection: GatewayId,
    seed: u64,
    message_count: u16,
}

impl EventIds {
    /// Begins the ids of `connection`.
    #[must_use]
    pub const fn new(connection: GatewayId, seed: u64) -> Self {
        Self { connection, seed, message_count: 0 }
    }

    /// A fresh request id.
    pub fn next_request_id(&mut self, epoch_ms: i64) -> GatewayId {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        GatewayId::for_request(epoch_ms, split_mix_64(self.seed))
    }

    /// A fresh message id.
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
    // The decoder asks for room for whole quanta (12 bytes), although the pad makes the last one two bytes long.
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

/// A bijection of 32-bit numbers that makes neighbours look unrelated (every step can be undone).
const fn permute_u32(n: u32) -> u32 {
    let n = (n ^ (n >> 16)).wrapping_mul(0x7FEB_352D);
    let n = (n ^ (n >> 15)).wrapping_mul(0x846C_A68B);
    n ^ (n >> 16)
}

/// The output function of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
const fn split_mix_64(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests;
