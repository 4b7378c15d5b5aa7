//! Every limit of the application in one place, each with its reason.
//!
//! The constants are part of the protocol or of a store's layout. A deployment may lower the fields of [`Limits`]: the
//! server and the Lambda functions read them under the names of [`LimitKey`] and pass them to the handlers as a value.
//!
//! ```
//! use handlers::limits::Limits;
//!
//! let mut limits = Limits::default();
//! limits.set("limits.body_bytes", "4KiB")?;
//! assert_eq!(limits.body_bytes, 4_096);
//! assert!(limits.set("limits.body_bytes", "1MiB").is_err());
//! # Ok::<_, String>(())
//! ```

mod settings;

use std::time::Duration;

pub use self::settings::LimitKey;

/// Longest accepted connection id, in bytes. Ids of API Gateway have 16; other gateways use UUIDs.
pub const MAX_CONNECTION_ID_BYTES: usize = 64;
/// Longest user, tenant, room or topic name, in bytes. Names are parts of store keys.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest `id` of a client's frame, in bytes (`docs/PROTOCOL.md`).
pub const MAX_MESSAGE_ID_BYTES: usize = 64;
/// Largest body of one message, in bytes of JSON. A `message` frame with its envelope must fit API Gateway's frame
/// quota of 32 KiB; otherwise browsers could send messages elsewhere that API Gateway rejects.
pub const MAX_BODY_BYTES: usize = 28 * 1024;
/// Maximum channels in one `join`, `leave`, `subscribe`, `unsubscribe`, `resume` or `presence` frame: they are written
/// in one DynamoDB transaction.
pub const MAX_CHANNELS_PER_FRAME: usize = 64;
/// Maximum rooms and topics of one connection. Bounds the size of the record and of the connection index.
pub const MAX_CHANNELS_PER_CONNECTION: usize = 256;
/// Maximum messages in one page of history or one read of a resume.
pub const MAX_PAGE_ENTRIES: usize = 100;
/// Maximum bytes of bodies in one page of history or one `resumed` frame; with the envelope it stays below API
/// Gateway's message quota of 128 KiB.
pub const MAX_PAGE_BYTES: usize = 96 * 1024;
/// Lifetime of a connection's record. It is far longer than API Gateway's limit of two hours per connection, because it
/// only removes records whose `$disconnect` was lost.
pub const CONNECTION_RECORD_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Limits that a deployment may lower. The default is the protocol's (`docs/PROTOCOL.md`, Limits) and the upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of one message, in bytes of JSON; at most [`MAX_BODY_BYTES`].
    pub body_bytes: usize,
    /// Maximum messages in one `history` answer; at most [`MAX_PAGE_ENTRIES`].
    pub history_messages: usize,
    /// Maximum messages in one push of the HTTP API.
    pub push_messages: usize,
    /// Maximum missed messages of a channel that one `resume` sends: the newest ones. For older ones the client
    /// receives a `gap` and reads `history`.
    pub resume_messages: u64,
    /// Maximum bytes of missed messages that one `resume` sends; a `gap` reports the rest. The server waits while the
    /// client reads, so this limits the duration of a resume.
    pub resume_bytes: usize,
    /// Maximum time that one `resume` reads and sends before a `gap` reports the rest. It is well below API Gateway's
    /// integration timeout of 29 seconds, because on AWS every missed message is a separate request.
    pub resume_time: Duration,
    /// Maximum members that one `members` answer lists, over all its channels, so that it fits API Gateway's message
    /// quota of 128 KiB. The number of connections is always exact.
    pub listed_members: usize,
    /// Maximum records that one `members` answer reads to count distinct users, over all its channels. For channels
    /// beyond it only connections are counted.
    pub counted_members: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: MAX_BODY_BYTES,
            history_messages: MAX_PAGE_ENTRIES,
            push_messages: 100,
            resume_messages: 10_000,
            resume_bytes: 4 * 1024 * 1024,
            resume_time: Duration::from_secs(15),
            listed_members: 500,
            counted_members: 10_000,
        }
    }
}
