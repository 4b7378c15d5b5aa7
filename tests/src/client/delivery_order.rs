//! In what order messages reach a client, and the line in which they wait until they are in order.
//!
//! Invariant: what is let through is in order whatever the arrival, so that a test sees the same everywhere. Only rules 3 and
//! 4 of `docs/PROTOCOL.md` are at work: a repeat is dropped, and what is early waits. Nothing is asked of the server again:
//! a message that is lost is missed by the test, and not made good.

use std::collections::BTreeMap;

use serde_json::Value;

use super::positions::MessageOrder;
use super::{ReceivedState, type_of};

/// Most early messages of a channel. A test that needs more has lost one.
const MAX_EARLY_MESSAGES: usize = 10_000;

/// In what order a channel's messages reach clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// Each once and in the order of offsets: a process that owns the sockets sees to it. Anything else is a failure.
    Ordered,
    /// In any order and repeated: API Gateway passes on what several functions post as it comes.
    Unordered,
}

/// Frames on their way in.
#[derive(Debug)]
pub(super) struct ReorderBuffer {
    arrival: DeliveryOrder,
    early: BTreeMap<String, BTreeMap<u64, Value>>,
}

impl ReorderBuffer {
    pub(super) const fn new(arrival: DeliveryOrder) -> Self {
        Self { arrival, early: BTreeMap::new() }
    }

    /// Notes what has come in order, and gives it.
    pub(super) fn accept_frame(&mut self, seen: &mut ReceivedState, who: &str, frame: Value) -> Vec<Value> {
        let Some(frame) = self.hold_if_early(seen, who, frame) else { return Vec::new() };
        seen.record_frame(who, &frame);
        let mut admitted = vec![frame];
        while let Some(next) = self.next_in_order(seen) {
            seen.record_frame(who, &next);
            admitted.push(next);
        }
        admitted
    }

    /// The frame, unless it is a repeat, or early.
    fn hold_if_early(&mut self, seen: &ReceivedState, who: &str, frame: Value) -> Option<Value> {
        let (DeliveryOrder::Unordered, "message", Some(offset)) =
            (self.arrival, type_of(&frame), frame["offset"].as_u64())
        else {
            return Some(frame);
        };
        match seen.order(&frame) {
            Some(MessageOrder::Early) => {
                let early = self.early.entry(frame["channel"].as_str()?.to_owned()).or_default();
                assert!(early.len() < MAX_EARLY_MESSAGES, "{who} has waited in vain for what comes before {frame}");
                early.insert(offset, frame);
                None
            }
            Some(MessageOrder::Repeat) => None,
            _ => Some(frame),
        }
    }

    /// An early message whose turn it is now; repeats of what has come are dropped.
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

    fn offsets(arrival: DeliveryOrder, arriving: &[u64]) -> Vec<u64> {
        let (mut line, mut seen) = (ReorderBuffer::new(arrival), ReceivedState::default());
        let message = |offset| json!({"type": "message", "channel": "c", "epoch": "e", "offset": offset});
        let admitted = arriving.iter().flat_map(|offset| line.accept_frame(&mut seen, "she", message(offset)));
        admitted.map(|frame| frame["offset"].as_u64().unwrap()).collect()
    }

    #[test]
    fn what_arrives_in_any_order_and_twice_is_let_through_in_order_and_once() {
        assert_eq!(offsets(DeliveryOrder::Unordered, &[3, 6, 3, 5, 6, 4, 2, 7]), [3, 4, 5, 6, 7]);
        assert_eq!(offsets(DeliveryOrder::Unordered, &[1, 3, 4]), [1], "what was lost is waited for");
    }

    #[test]
    #[should_panic(expected = "twice, or out of order")]
    fn where_order_is_promised_it_is_checked() {
        offsets(DeliveryOrder::Ordered, &[1, 3, 2]);
    }
}
