//! Splitting of pipelines by Cluster slot.
//!
//! Commands on one slot keep their order and use one connection, so messages published to one Redis channel arrive in
//! order. There is no order between slots.

use std::collections::HashMap;

use redis::cluster_routing::Slot;
use redis::{Arg, Cmd, Pipeline, Value};

/// The commands of a pipeline that belong to one slot.
#[derive(Default)]
pub(super) struct SlotPipeline {
    pub(super) pipeline: Pipeline,
    /// Indices of the commands in the original pipeline.
    indices: Vec<usize>,
}

/// Splits a pipeline by slot.
pub(super) fn split_by_slot(pipeline: &Pipeline) -> Vec<SlotPipeline> {
    let mut parts: HashMap<Option<Slot>, SlotPipeline> = HashMap::new();
    for (index, command) in pipeline.cmd_iter().enumerate() {
        let part = parts.entry(first_key(command).map(Slot::for_key)).or_default();
        part.pipeline.add_command(command.clone());
        part.indices.push(index);
    }
    parts.into_values().collect()
}

/// Merges the replies in the order of the original pipeline.
pub(super) fn merge_replies(replies: Vec<(SlotPipeline, Vec<Value>)>) -> Vec<Value> {
    let mut indexed: Vec<(usize, Value)> =
        replies.into_iter().flat_map(|(part, values)| part.indices.into_iter().zip(values)).collect();
    indexed.sort_unstable_by_key(|(index, _)| *index);
    indexed.into_iter().map(|(_, value)| value).collect()
}

/// Returns the first key of a command: its first argument or, for a script, the one after the script and the number of
/// keys.
pub(super) fn first_key(command: &Cmd) -> Option<&[u8]> {
    let argument_at = |index| match command.args_iter().nth(index) {
        Some(Arg::Simple(bytes)) => Some(bytes),
        _ => None,
    };
    match argument_at(0)? {
        b"EVAL" | b"EVALSHA" => argument_at(3),
        _ => argument_at(1),
    }
}

#[cfg(test)]
mod tests {
    use redis::Script;

    use super::*;

    #[test]
    fn parts_keep_their_order_and_their_replies_are_merged() {
        let mut pipeline = Pipeline::new();
        for number in 0..12 {
            pipeline.cmd("SPUBLISH").arg(format!("channel{}", number % 3)).arg(number);
        }
        pipeline.cmd("EVALSHA").arg(Script::new("return 1").get_hash()).arg(1).arg("channel1");
        let parts = split_by_slot(&pipeline);
        assert_eq!(parts.len(), 3, "a part for each channel");
        assert!(parts.iter().all(|part| part.indices.is_sorted()), "each part in order");
        let with_script = parts.iter().find(|part| part.indices.contains(&12)).map(|part| part.indices.clone());
        assert_eq!(with_script, Some(vec![1, 4, 7, 10, 12]), "a script belongs to the slot of its key");

        let reply = |index: &usize| Value::Int(i64::try_from(*index).unwrap());
        let replies = parts.into_iter().map(|part| (part.indices.iter().map(reply).collect(), part));
        let merged = merge_replies(replies.map(|(values, part)| (part, values)).collect());
        assert_eq!(merged, (0..13).map(|index| reply(&index)).collect::<Vec<_>>());
    }
}
