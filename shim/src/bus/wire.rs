//! What pods say to each other, as bytes.
//!
//! ```text
//! payload   version u8 · origin u64 · record*
//! record    kind u8 · length u32 · body            (a kind that is not known is skipped by its length)
//! frame     lane u8 · part u8 · audience · flags u8 · [channel] · [epoch · offset u64] · text
//! request   id u64 · head (JSON) · text            reply   id u64 · JSON
//! ```
//! Numbers are big-endian; audience, channel, epoch and head are a `u16` length and UTF-8 (an audience has a tag byte in
//! front). Invariant: reading is a pure function that never panics, looks only where it has checked, and allocates no more
//! than the payload holds. A frame's text is not copied: it stays part of the payload. Nothing here knows about topics.

mod cursor;
mod operation;

use bytes::{BufMut, BytesMut};
use handlers::audience::Audience;
use handlers::channel::{Channel, Epoch, Offset, Position};
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::Role;
use handlers::ports::{Outgoing, Placement, Priority};

use self::cursor::Cursor;
pub use self::operation::{Answer, Described, Operation};

/// The version of the format. A payload of another version is not read: its placed messages come from the log.
const VERSION: u8 = 1;
const FRAME: u8 = 1;
const REQUEST: u8 = 2;
const REPLY: u8 = 3;
const PULSE: u8 = 4;
/// The frame's place is in its audience's own channel.
const PLACED: u8 = 1;
/// The frame's place is in a channel that is named.
const PLACED_ELSEWHERE: u8 = 2;
/// Version and origin.
pub const ENVELOPE_BYTES: usize = 9;

/// A payload, or a part of one, that is not what this version writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a payload of the bus is malformed")]
pub struct Malformed;

/// One thing that a pod said.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'p> {
    /// A frame for an audience.
    Frame(Frame<'p>),
    /// A request about one connection.
    Request {
        /// What the reply repeats.
        id: u64,
        /// What is asked.
        operation: Operation,
        /// The frame that goes with it; empty when none does.
        text: &'p str,
    },
    /// The reply to a request.
    Reply {
        /// The request's id.
        id: u64,
        /// The answer.
        answer: Answer,
    },
    /// A heartbeat.
    Pulse,
}

/// A frame on its way between pods.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'p> {
    /// Who gets it.
    pub audience: Audience,
    /// Which of the audience's groups this copy is for.
    pub part: usize,
    /// Its lane.
    pub priority: Priority,
    /// Its place in a log.
    pub placement: Option<Placement>,
    /// The encoded frame.
    pub text: &'p str,
}

/// Puts the envelope in front of what is to follow.
pub fn begin_payload(buffer: &mut BytesMut, origin: u64) {
    buffer.put_u8(VERSION);
    buffer.put_u64(origin);
}

/// A frame's record: the copy for group number `part` of the audience.
#[must_use]
pub fn frame_record(audience: &Audience, part: u8, outgoing: &Outgoing) -> BytesMut {
    let mut record = begin_record(FRAME, outgoing.frame.len() + 160);
    record.put_u8(outgoing.priority as u8);
    record.put_u8(part);
    put_audience(&mut record, audience);
    match &outgoing.placement {
        None => record.put_u8(0),
        Some(placement) => {
            if matches!(audience, Audience::Channel(channel) if *channel == placement.channel) {
                record.put_u8(PLACED);
            } else {
                record.put_u8(PLACED_ELSEWHERE);
                put_text(&mut record, &placement.channel.to_string());
            }
            put_text(&mut record, &placement.position.epoch.0);
            record.put_u64(placement.position.offset.0);
        }
    }
    record.extend_from_slice(&outgoing.frame);
    end_record(record)
}

/// A request's record.
#[must_use]
pub fn request_record(id: u64, operation: &Operation, text: &[u8]) -> BytesMut {
    let mut record = begin_record(REQUEST, text.len() + 256);
    record.put_u64(id);
    put_text(&mut record, &serde_json::to_string(operation).unwrap_or_default());
    record.extend_from_slice(text);
    end_record(record)
}

/// A reply's record.
#[must_use]
pub fn reply_record(id: u64, answer: &Answer) -> BytesMut {
    let mut record = begin_record(REPLY, 128);
    record.put_u64(id);
    record.extend_from_slice(&serde_json::to_vec(answer).unwrap_or_default());
    end_record(record)
}

/// A heartbeat's record.
#[must_use]
pub fn pulse_record() -> BytesMut {
    end_record(begin_record(PULSE, 0))
}

/// Who sent a payload, and the records in it.
///
/// # Errors
/// [`Malformed`] when it is of another version, or too short for an envelope.
pub fn read_payload(payload: &[u8]) -> Result<(u64, Records<'_>), Malformed> {
    let mut cursor = Cursor(payload);
    if cursor.byte()? != VERSION {
        return Err(Malformed);
    }
    Ok((cursor.number()?, Records { cursor }))
}

/// The records of a payload. Behind a malformed record the others are still read as long as lengths add up.
pub struct Records<'p> {
    cursor: Cursor<'p>,
}

impl<'p> Iterator for Records<'p> {
    type Item = Result<Record<'p>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.cursor.0.is_empty() {
            match self.cursor.record() {
                Ok((kind, body)) => match read_record(kind, Cursor(body)) {
                    Ok(None) => {}
                    Ok(Some(record)) => return Some(Ok(record)),
                    Err(malformed) => return Some(Err(malformed)),
                },
                Err(malformed) => {
                    self.cursor = Cursor(&[]);
                    return Some(Err(malformed));
                }
            }
        }
        None
    }
}

fn read_record(kind: u8, mut body: Cursor<'_>) -> Result<Option<Record<'_>>, Malformed> {
    Ok(Some(match kind {
        FRAME => Record::Frame(read_frame(body)?),
        REQUEST => {
            let id = body.number()?;
            let operation = serde_json::from_str(body.text()?).map_err(|_| Malformed)?;
            Record::Request { id, operation, text: body.rest()? }
        }
        REPLY => {
            Record::Reply { id: body.number()?, answer: serde_json::from_str(body.rest()?).map_err(|_| Malformed)? }
        }
        PULSE => Record::Pulse,
        _ => return Ok(None),
    }))
}

fn read_frame(mut body: Cursor<'_>) -> Result<Frame<'_>, Malformed> {
    let priority = priority_of(body.byte()?)?;
    let part = usize::from(body.byte()?);
    let audience = read_audience(&mut body)?;
    let placement = match (body.byte()?, &audience) {
        (0, _) => None,
        (PLACED, Audience::Channel(channel)) => Some(read_placement(channel.clone(), &mut body)?),
        (PLACED_ELSEWHERE, _) => {
            let channel = Channel::from_key(body.text()?).map_err(|_| Malformed)?;
            Some(read_placement(channel, &mut body)?)
        }
        _ => return Err(Malformed),
    };
    Ok(Frame { audience, part, priority, placement, text: body.rest()? })
}

fn read_placement(channel: Channel, body: &mut Cursor<'_>) -> Result<Placement, Malformed> {
    let epoch = Epoch(body.text()?.into());
    Ok(Placement { channel, position: Position { epoch, offset: Offset(body.number()?) } })
}

fn put_audience(record: &mut BytesMut, audience: &Audience) {
    let (tag, key) = match audience {
        Audience::Connection(id) => (1, id.to_string()),
        Audience::User(tenant, user) => (2, format!("{tenant}/{user}")),
        Audience::Role(tenant, role) => (3, format!("{tenant}/{}", role.as_str())),
        Audience::Channel(channel) => (4, channel.to_string()),
    };
    record.put_u8(tag);
    put_text(record, &key);
}

fn read_audience(body: &mut Cursor<'_>) -> Result<Audience, Malformed> {
    let (tag, key) = (body.byte()?, body.text()?);
    let split = || key.split_once('/').ok_or(Malformed);
    let tenant = |text| TenantId::parse(text).map_err(|_| Malformed);
    Ok(match tag {
        1 => Audience::Connection(ConnectionId::parse(key).map_err(|_| Malformed)?),
        2 => {
            let (of, user) = split()?;
            Audience::User(tenant(of)?, UserId::parse(user).map_err(|_| Malformed)?)
        }
        3 => {
            let (of, role) = split()?;
            Audience::Role(tenant(of)?, Role::parse(role).ok_or(Malformed)?)
        }
        4 => Audience::Channel(Channel::from_key(key).map_err(|_| Malformed)?),
        _ => return Err(Malformed),
    })
}

fn priority_of(lane: u8) -> Result<Priority, Malformed> {
    let lanes = [Priority::Control, Priority::Direct, Priority::Broadcast, Priority::Ephemeral];
    lanes.get(usize::from(lane)).copied().ok_or(Malformed)
}

fn begin_record(kind: u8, body_hint: usize) -> BytesMut {
    let mut record = BytesMut::with_capacity(5 + body_hint);
    record.put_u8(kind);
    record.put_u32(0);
    record
}

/// Writes the length that was left open. Bodies are far below 4 GiB: frames have quotas, and the queue has a bound.
fn end_record(mut record: BytesMut) -> BytesMut {
    let length = u32::try_from(record.len() - 5).unwrap_or(u32::MAX);
    record[1..5].copy_from_slice(&length.to_be_bytes());
    record
}

/// Keys and epochs are short by their own limits (`handlers::limits`); a request's head names at most 64 channels.
fn put_text(record: &mut BytesMut, text: &str) {
    record.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    record.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests;
