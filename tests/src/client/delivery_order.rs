//! Delivery order of messages, and the reorder buffer for gateways that guarantee none.
//!
//! Frames leave the buffer in order whatever the order of arrival, so that a test passes on every gateway. Only rules
//! 3 and 4 of `docs/PROTOCOL.md` apply: repeats are dropped, early messages are buffered. Nothing is requested from the
//! server again, so a lost message still fails the test.

use std::collections::BTreeMap;

use serde_json::Value;

use super::positions::MessageOrder;
use super::{ReceivedState, type_of};

/// Maximum number of early messages of a channel; a test that needs more has lost a message.
const MAX_EARLY_MESSAGES: usize = 10_000;

/// Order in which a channel's messages reach clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// Each message once and in the order of offsets, guaranteed by a process that owns the sockets. Anything else is
    /// an error.
    Ordered,
    /// In any order and repeated: API Gateway forwards the posts of concurrent functions as they arrive.
    Unordered,
}

/// Buffer of early frames.
#[derive(Debug)]
pub(super) struct ReorderBuffer {
    order: DeliveryOrder,
    early: BTreeMap<String, BTreeMap<u64, Value>>,
}

impl ReorderBuffer {
    pub(super) const fn new(order: DeliveryOrder) -> Self {
        Self { order, early: BTreeMap::new() }
    }

    /// Accepts a frame and returns the frames that are now in order.
    pub(super) fn accept_frame(&mut self, seen: &mut ReceivedState, who: &str, frame: Value) -> Vec<Value> {
        let Some(frame) = self.buffer_if_early(seen, who, frame) else { return Vec::new() };
        seen.record_frame(who, &frame);
        let mut admitted = vec![frame];
        while let Some(next) = self.next_in_order(seen) {
            seen.record_frame(who, &next);
            admitted.push(next);
        }
        admitted
    }

    /// Returns the frame, or `None` when it is a repeat or was buffered as early.
    fn buffer_if_early(&mut self, seen: &ReceivedState, who: &str, frame: Value) -> Option<Value> {
        let (DeliveryOrder::Unordered, "message", Some(offset)) =
            (self.order, type_of(&frame), frame["offset"].as_u64())
        else {
            return Some(frame);
        };
        match seen.order(&frame) {
            Some(MessageOrder::Early) => {
                let early = self.early.entry(frame["channel"].as_str()?.to_owned()).or_default();
                assert!(early.len() < MAX_EARLY_MESSAGES, "{who} never received the message before {frame}");
                early.insert(offset, frame);
                None
            }
            Some(MessageOrder::Repeat) => None,
            _ => Some(frame),
        }
    }

    /// Returns an early message that is now the next one; drops repeats.
    fn next_in_order(&mut self, seen: &ReceivedState) -> Option<Value> {
        for early in self.early.values_mut() {
            while let Some(first) = early.first_entry() {
                match seen.order(first.get()) {
                    Some(MessageOrder::Early | MessageOrder::Resuming) => break,
                    Some(MessageOrder::Next) => return Some(first.remove()),
                    _ => drop(first.remove()),
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn offsets(order: DeliveryOrder, arriving: &[u64]) -> Vec<u64> {
        let (mut buffer, mut seen) = (ReorderBuffer::new(order), ReceivedState::default());
        let message = |offset| json!({"type": "message", "channel": "c", "epoch": "e", "offset": offset});
        let admitted = arriving.iter().flat_map(|offset| buffer.accept_frame(&mut seen, "she", message(offset)));
        admitted.map(|frame| frame["offset"].as_u64().unwrap()).collect()
    }

    #[test]
    fn unordered_and_repeated_messages_are_delivered_in_order_and_once() {
        assert_eq!(offsets(DeliveryOrder::Unordered, &[3, 6, 3, 5, 6, 4, 2, 7]), [3, 4, 5, 6, 7]);
        assert_eq!(offsets(DeliveryOrder::Unordered, &[1, 3, 4]), [1], "a lost message blocks later ones");
    }

    #[test]
    #[should_panic(expected = "duplicate or out of order")]
    fn guaranteed_order_is_checked() {
        offsets(DeliveryOrder::Ordered, &[1, 3, 2]);
    }
}
