//! Binary encoding of one message.
//!
//! ```text
//! sent at, i64 LE | role | length of user | length of id | user | id | body
//! ```

use std::sync::Arc;

use handlers::channel::Offset;
use handlers::id::{MessageId, UserId};
use handlers::identity::Role;
use handlers::ports::{AppendRequest, LogEntry, MessageSender, Timestamp};
use serde_json::value::RawValue;

use super::error::FileLogError;

/// Size of the fields before the texts.
const HEADER_BYTES: usize = 11;

/// Decoded fields, borrowed from the record's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct MessageRecord<'a> {
    pub sent_at: Timestamp,
    pub role: u8,
    pub user: &'a str,
    pub id: &'a str,
    pub body: &'a str,
}

/// Returns the number of a role in the file. The numbers must never change.
pub(super) const fn role_number(role: Role) -> u8 {
    match role {
        Role::User => 1,
        Role::Admin => 2,
        Role::Service => 3,
    }
}

const fn role_from_number(number: u8) -> Option<Role> {
    match number {
        1 => Some(Role::User),
        2 => Some(Role::Admin),
        3 => Some(Role::Service),
        _ => None,
    }
}

/// The bytes of a message. User and message id are shorter than 256 bytes by their own bounds.
pub(super) fn encode_record(append: &AppendRequest) -> Result<Vec<u8>, FileLogError> {
    let (user, id, body) = (append.sender.user.as_str(), append.id.as_str(), append.body.get());
    let length = |text: &str| u8::try_from(text.len()).map_err(|_| FileLogError::corrupt("an identifier is too long"));
    let mut bytes = Vec::with_capacity(HEADER_BYTES + user.len() + id.len() + body.len());
    bytes.extend_from_slice(&append.sent_at.0.to_le_bytes());
    bytes.extend_from_slice(&[role_number(append.sender.role), length(user)?, length(id)?]);
    [user, id, body].iter().for_each(|text| bytes.extend_from_slice(text.as_bytes()));
    Ok(bytes)
}

/// Decodes the fields of a record that [`encode_record`] encoded.
pub(super) fn decode_record(bytes: &[u8]) -> Result<MessageRecord<'_>, FileLogError> {
    split_record(bytes).ok_or_else(|| FileLogError::corrupt("malformed record"))
}

fn split_record(bytes: &[u8]) -> Option<MessageRecord<'_>> {
    let (head, texts) = bytes.split_at_checked(HEADER_BYTES)?;
    let (sent_at, lengths) = head.split_first_chunk::<8>()?;
    let [role, user, id] = *lengths.first_chunk::<3>()?;
    let (user, rest) = texts.split_at_checked(user.into())?;
    let (id, body) = rest.split_at_checked(id.into())?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let sent_at = Timestamp(i64::from_le_bytes(*sent_at));
    Some(MessageRecord { sent_at, role, user: text(user)?, id: text(id)?, body: text(body)? })
}

impl MessageRecord<'_> {
    /// Converts the record into an entry. Validates identifiers and body again, because other programs can change the
    /// file.
    pub(super) fn into_entry(self, offset: Offset) -> Result<LogEntry, FileLogError> {
        let role = role_from_number(self.role).ok_or_else(|| FileLogError::corrupt("record with an unknown role"))?;
        let user = UserId::parse(self.user).map_err(|_| FileLogError::corrupt("record with an invalid user id"))?;
        let id = MessageId::parse(self.id).map_err(|_| FileLogError::corrupt("record with an invalid message id"))?;
        let body = RawValue::from_string(self.body.to_owned())
            .map_err(|_| FileLogError::corrupt("record body is not JSON"))?;
        Ok(LogEntry { offset, sender: MessageSender { user, role }, id, sent_at: self.sent_at, body: Arc::from(body) })
    }
}

#[cfg(test)]
mod tests {
    use handlers::channel::Channel;

    use super::*;

    fn message() -> AppendRequest {
        AppendRequest {
            channel: Channel::from_key("acme/everyone").unwrap(),
            sender: MessageSender { user: UserId::parse("alice").unwrap(), role: Role::Service },
            id: MessageId::parse("m1").unwrap(),
            sent_at: Timestamp(-5),
            body: Arc::from(RawValue::from_string("{\"a\": \"é\"}".to_owned()).unwrap()),
        }
    }

    #[test]
    fn a_record_is_decoded_as_it_was_encoded() {
        let bytes = encode_record(&message()).unwrap();
        let entry = decode_record(&bytes).unwrap().into_entry(Offset(3)).unwrap();
        assert_eq!((entry.sender, entry.id, entry.sent_at), (message().sender, message().id, message().sent_at));
        assert_eq!((entry.offset, entry.body.get()), (Offset(3), "{\"a\": \"é\"}"));
    }

    #[test]
    fn a_malformed_record_is_an_error_and_never_a_panic() {
        let bytes = encode_record(&message()).unwrap();
        for cut in 0..bytes.len() {
            let read = decode_record(&bytes[..cut]).and_then(|record| record.into_entry(Offset(1)));
            assert!(matches!(read, Err(FileLogError::Corrupt(_))), "cut at {cut}");
        }
        let mut unknown = bytes;
        unknown[8] = 9;
        assert!(decode_record(&unknown).unwrap().into_entry(Offset(1)).is_err());
    }
}
