//! A pipeline for a Cluster, taken apart by slot.
//!
//! Invariant: commands on one slot stay in their order and on one connection, so that what is published to a topic arrives
//! in that order. Between slots there is no order.

use std::collections::HashMap;

use redis::cluster_routing::Slot;
use redis::{Arg, Cmd, Pipeline, Value};

/// The part of a pipeline that belongs to one slot.
#[derive(Default)]
pub(super) struct SlotPipeline {
    /// Its commands.
    pub(super) pipeline: Pipeline,
    /// Where each stood in the whole.
    indices: Vec<usize>,
}

/// Takes a pipeline apart.
pub(super) fn split_by_slot(pipeline: &Pipeline) -> Vec<SlotPipeline> {
    let mut parts: HashMap<Option<Slot>, SlotPipeline> = HashMap::new();
    for (place, command) in pipeline.cmd_iter().enumerate() {
        let part = parts.entry(first_key(command).map(Slot::for_key)).or_default();
        part.pipeline.add_command(command.clone());
        part.indices.push(place);
    }
    parts.into_values().collect()
}

/// Puts the parts' answers back where their commands stood.
pub(super) fn merge_replies(answers: Vec<(SlotPipeline, Vec<Value>)>) -> Vec<Value> {
    let mut placed: Vec<(usize, Value)> =
        answers.into_iter().flat_map(|(part, values)| part.indices.into_iter().zip(values)).collect();
    placed.sort_unstable_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, value)| value).collect()
}

/// A command's first key: its first argument, but a script's comes after the script and the number of keys.
fn first_key(command: &Cmd) -> Option<&[u8]> {
    let argument = |place| match command.args_iter().nth(place) {
        Some(Arg::Simple(bytes)) => Some(bytes),
        _ => None,
    };
    match argument(0)? {
        b"EVAL" | b"EVALSHA" => argument(3),
        _ => argument(1),
    }
}

#[cfg(test)]
mod tests {
    use redis::Script;

    use super::*;

    #[test]
    fn parts_keep_their_order_and_come_together_again() {
        let mut pipeline = Pipeline::new();
        for number in 0..12 {
            pipeline.cmd("SPUBLISH").arg(format!("topic{}", number % 3)).arg(number);
        }
        pipeline.cmd("EVALSHA").arg(Script::new("return 1").get_hash()).arg(1).arg("topic1");
        let parts = split_by_slot(&pipeline);
        assert_eq!(parts.len(), 3, "a part for each topic");
        assert!(parts.iter().all(|part| part.indices.is_sorted()), "each in order");
        let with_script = parts.iter().find(|part| part.indices.contains(&12)).map(|part| part.indices.clone());
        assert_eq!(with_script, Some(vec![1, 4, 7, 10, 12]), "a script goes with its key");

        let answer = |place: &usize| Value::Int(i64::try_from(*place).unwrap());
        let answers = parts.into_iter().map(|part| (part.indices.iter().map(answer).collect(), part));
        let whole = merge_replies(answers.map(|(values, part)| (part, values)).collect());
        assert_eq!(whole, (0..13).map(|place| answer(&place)).collect::<Vec<_>>());
    }
}
