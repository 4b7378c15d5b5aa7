//! Every bound of the application in one place, each with its reason.

use std::time::Duration;

/// Longest connection id that is taken, in bytes. API Gateway's have 16; other gateways use UUIDs.
pub const CONNECTION_ID_BYTES: usize = 64;
/// Longest user, tenant, room or topic name, in bytes: they are parts of store keys.
pub const NAME_BYTES: usize = 128;
/// Longest `id` of a client's frame, in bytes (`docs/PROTOCOL.md`).
pub const MESSAGE_ID_BYTES: usize = 64;
/// Largest body of one message, in bytes of JSON. A `message` frame with its envelope must fit API Gateway's frame
/// quota of 32 KiB, or browsers behind API Gateway could not send what others can.
pub const BODY_BYTES: usize = 28 * 1024;
/// Most channels in one `join`, `leave`, `subscribe`, `unsubscribe`, `resume` or `presence` frame.
pub const CHANNELS_PER_FRAME: usize = 64;
/// Most rooms and topics that one connection may be in at a time: bounds the store's record and the hub's index.
pub const CHANNELS_PER_CONNECTION: usize = 256;
/// Most entries that one page of history or one `resumed` frame holds.
pub const PAGE_ENTRIES: usize = 100;
/// Most bytes of bodies that one page of history or one `resumed` frame holds; with the envelope it stays below API
/// Gateway's message quota of 128 KiB.
pub const PAGE_BYTES: usize = 96 * 1024;
/// How many entries of one channel a client that comes back is sent before it is told `gap` and left to page through
/// `history`: a client that was away for a week wants the last screenful, not a million frames.
pub const RESUME_ENTRIES: u64 = 10_000;
/// Most members that one `members` answer lists, over all its channels, so that it fits API Gateway's message quota of
/// 128 KiB; the count of connections is always exact.
pub const MEMBERS_LISTED: usize = 500;
/// Most messages in one push of the HTTP API.
pub const PUSH_BATCH: usize = 100;
/// How long a connection's record outlives its last write: longer than API Gateway's two hours by far, so that it only
/// sweeps what a lost `$disconnect` left behind.
pub const CONNECTION_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Most bytes of missed messages that one `resume` sends; the rest is told as `gap` and left to `history`. A deliverer that
/// owns the socket lets the resume wait while the client reads, so this bounds how long a connection is busy catching up.
pub const RESUME_BYTES: usize = 4 * 1024 * 1024;
/// How long one `resume` may go on reading and sending before the rest is told as `gap`: well inside API Gateway's
/// integration timeout of 29 seconds, because there every missed message is a request of its own.
pub const RESUME_TIME: Duration = Duration::from_secs(15);
/// How many records of a channel are looked at to count its distinct users. Beyond it only connections are counted.
pub const MEMBERS_COUNTED: usize = 10_000;
