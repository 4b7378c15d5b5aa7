//! The master that all connections of a client use, and the decision when another server has become the master.
//!
//! A planned failover leaves the former master writable for seconds: with Redis 7.0 it accepts writes for 11 s after a
//! replica was promoted, and loses all of them. The Sentinels name the new master about a second after the promotion.
//! [`MasterProber`](super::master_prober::MasterProber) therefore probes the servers themselves, and this module
//! compares their replication ids.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::replication::{NodeAddress, ReplicationState};

/// Maximum time after a failover in which a master that has no replica yet may confirm a write alone. The former
/// master becomes a replica after about 10 s, plus the time of its synchronization.
const TAKEOVER_GRACE: Duration = Duration::from_secs(60);

/// Selection of the master; shared by the connections of a client.
#[derive(Debug, Default)]
pub(super) struct MasterSelection {
    /// Whether a prober runs. Without one, only the address of a single server is followed.
    probes: bool,
    selected: watch::Sender<SelectedMaster>,
    probe_requested: Notify,
    begun_rounds: AtomicU64,
    completed_rounds: watch::Sender<u64>,
}

/// The selected master and its state in the latest round of probes.
#[derive(Debug, Clone, Default)]
struct SelectedMaster {
    /// `None` until the first round that found a master.
    node: Option<NodeAddress>,
    /// Number of changes of the master.
    generation: u64,
    replication_id: String,
    online_replicas: usize,
    /// Number of online replicas in the round before.
    previous_online_replicas: usize,
    named_by_sentinel: bool,
    /// Time of a failover after which the master has not had a replica yet.
    took_over_at: Option<Instant>,
}

/// Facts about the selected master that decide whether a write is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MasterFacts {
    /// Generation of the selection.
    pub(super) generation: u64,
    /// Higher number of online replicas in the two latest rounds of probes. A round that misses a replica may have
    /// asked it before its promotion; the next one finds it promoted.
    pub(super) online_replicas: usize,
    /// Whether the master may confirm writes without a replica: it has just taken over, a Sentinel names it, and its
    /// replicas have not connected yet.
    pub(super) confirms_alone: bool,
}

/// Results of a round of probes.
#[derive(Debug, Default)]
pub(super) struct ProbeRound {
    /// Servers that answered.
    pub(super) servers: Vec<(NodeAddress, ReplicationState)>,
    /// Master according to the Sentinels.
    pub(super) named: Option<NodeAddress>,
}

impl MasterSelection {
    /// Creates a selection that a prober keeps up to date.
    pub(super) fn probed() -> Self {
        Self { probes: true, ..Self::default() }
    }

    /// Returns whether a prober runs.
    pub(super) const fn is_probed(&self) -> bool {
        self.probes
    }

    /// Returns the address of the master; `None` if it is not known yet.
    pub(super) fn node(&self) -> Option<NodeAddress> {
        self.selected.borrow().node.clone()
    }

    /// Returns the number of changes of the master. A connection of an earlier generation is to another server.
    pub(super) fn generation(&self) -> u64 {
        self.selected.borrow().generation
    }

    /// Returns the facts about the master as of the latest round.
    pub(super) fn facts(&self) -> MasterFacts {
        let selected = self.selected.borrow();
        let takes_over = selected.took_over_at.is_some_and(|at| at.elapsed() < TAKEOVER_GRACE);
        MasterFacts {
            generation: selected.generation,
            online_replicas: selected.online_replicas.max(selected.previous_online_replicas),
            confirms_alone: takes_over && selected.named_by_sentinel && selected.online_replicas == 0,
        }
    }

    /// Waits until the master is another one than in `generation`.
    pub(super) async fn wait_changed(&self, generation: u64) {
        // The sender lives as long as `self`.
        let _ = self.selected.subscribe().wait_for(|selected| selected.generation != generation).await;
    }

    /// Requests a round of probes without waiting for it.
    pub(super) fn request_probe(&self) {
        self.probe_requested.notify_one();
    }

    /// Runs a round of probes that begins after the call, and returns the facts that it found. The caller must apply a
    /// timeout. Without a prober, returns the known facts.
    pub(super) async fn verify_master(&self) -> MasterFacts {
        if !self.probes {
            return self.facts();
        }
        let round = self.begun_rounds.load(Ordering::Acquire) + 1;
        self.request_probe();
        let _ = self.completed_rounds.subscribe().wait_for(|completed| *completed >= round).await;
        self.facts()
    }

    /// Waits for a request for probes.
    pub(super) async fn probe_requested(&self) {
        self.probe_requested.notified().await;
    }

    /// Marks the start of a round.
    pub(super) fn begin_round(&self) {
        self.begun_rounds.fetch_add(1, Ordering::AcqRel);
    }

    /// Applies the results of the round. Returns whether the master changed.
    pub(super) fn complete_round(&self, round: &ProbeRound) -> bool {
        let mut changed = false;
        self.selected.send_if_modified(|selected| {
            changed = selected.apply(round);
            changed
        });
        self.completed_rounds.send_replace(self.begun_rounds.load(Ordering::Acquire));
        changed
    }

    /// Replaces all connections, because the host name of the single server resolves to another one.
    pub(super) fn follow_address(&self) {
        self.selected.send_modify(|selected| selected.generation += 1);
    }
}

impl SelectedMaster {
    /// Applies a round. Returns whether the master changed after it had been known.
    fn apply(&mut self, round: &ProbeRound) -> bool {
        let Some((node, state)) = round.choose_master(self) else { return false };
        let changed = self.node.as_ref().is_some_and(|current| current != node);
        if changed {
            self.generation += 1;
            self.took_over_at = Some(Instant::now());
        }
        // A Sentinel names a promoted replica once the failover can no longer be aborted.
        self.named_by_sentinel = round.named.as_ref() == Some(node);
        self.previous_online_replicas = if changed { 0 } else { self.online_replicas };
        self.online_replicas = state.online_replicas.len();
        if self.online_replicas > 0 {
            self.took_over_at = None;
        }
        if changed || self.node.is_none() {
            self.node = Some(node.clone());
        }
        state.replication_id.clone_into(&mut self.replication_id);
        changed
    }
}

impl ProbeRound {
    /// Returns the master among the servers that answered. Returns `None` when the current one stays, unreachable.
    fn choose_master(&self, current: &SelectedMaster) -> Option<&(NodeAddress, ReplicationState)> {
        let masters = || self.servers.iter().filter(|(_, state)| state.is_master);
        let named = self.named.as_ref().and_then(|named| masters().find(|(node, _)| node == named));
        let Some(current_node) = &current.node else { return named };
        let own = self.servers.iter().find(|(node, _)| node == current_node);
        let own_id = own.map_or(&current.replication_id, |(_, state)| &state.replication_id);
        if let Some(successor) = masters().find(|(_, state)| state.took_over_from(own_id)) {
            return Some(successor);
        }
        match own.filter(|(_, state)| state.is_master) {
            // The Sentinels may not know yet that the current master took over from the one they name.
            Some(own) => Some(named.filter(|(_, state)| !own.1.took_over_from(&state.replication_id)).unwrap_or(own)),
            // A demoted master has the data, and so the replication id, of its new master.
            None => named.or_else(|| masters().find(|(_, state)| own.is_some() && state.replication_id == *own_id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::redis::replication::tests::state;

    const FIRST: &str = "1111111111111111111111111111111111111111";
    const SECOND: &str = "2222222222222222222222222222222222222222";
    const NONE: &str = "0000000000000000000000000000000000000000";

    fn node(port: u16) -> NodeAddress {
        NodeAddress { host: "10.0.0.1".to_owned(), port }
    }

    /// A master with one online replica.
    fn master(id: &str, previous: &str) -> ReplicationState {
        state("master", id, previous, "slave0:ip=10.0.0.9,port=1,state=online,offset=42,lag=0\r\n")
    }

    fn lone_master(id: &str, previous: &str) -> ReplicationState {
        state("master", id, previous, "")
    }

    fn replica(id: &str) -> ReplicationState {
        state("slave", id, NONE, "")
    }

    fn round(servers: &[(u16, ReplicationState)], named: u16) -> ProbeRound {
        let servers = servers.iter().map(|(port, state)| (node(*port), state.clone())).collect();
        ProbeRound { servers, named: Some(node(named)) }
    }

    /// Returns a selection of the master at port 1.
    fn selection() -> MasterSelection {
        let selection = MasterSelection::probed();
        assert!(!selection.complete_round(&round(&[(1, master(FIRST, NONE)), (2, replica(FIRST))], 1)));
        assert_eq!(selection.node(), Some(node(1)));
        selection
    }

    #[tokio::test(start_paused = true)]
    async fn a_promoted_replica_is_the_master_before_the_sentinels_name_it() {
        let selection = selection();
        let both = [(1, lone_master(FIRST, NONE)), (2, lone_master(SECOND, FIRST))];
        assert!(selection.complete_round(&round(&both, 1)));
        assert_eq!((selection.node(), selection.generation()), (Some(node(2)), 1));
        assert!(!selection.facts().confirms_alone, "no Sentinel agrees yet");
        assert!(!selection.complete_round(&round(&both, 1)), "the Sentinels still name the former master");
        selection.complete_round(&round(&both, 2));
        assert!(selection.facts().confirms_alone, "its replica has not connected yet");
        selection.complete_round(&round(&[(2, master(SECOND, FIRST)), (1, replica(SECOND))], 2));
        selection.complete_round(&round(&[(2, lone_master(SECOND, FIRST))], 2));
        assert!(!selection.facts().confirms_alone, "a replica that was connected once is required");
    }

    #[tokio::test(start_paused = true)]
    async fn a_master_confirms_alone_for_a_limited_time_after_a_failover_only() {
        let selection = selection();
        selection.complete_round(&round(&[(1, lone_master(FIRST, NONE))], 1));
        assert!(!selection.facts().confirms_alone, "no failover");
        selection.complete_round(&round(&[(2, lone_master(SECOND, FIRST))], 2));
        assert!(selection.facts().confirms_alone);
        advance(TAKEOVER_GRACE).await;
        assert!(!selection.facts().confirms_alone, "after the grace time");
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_left_counts_until_a_second_round_found_no_other_master() {
        let selection = selection();
        // The replica was promoted after it had replied, and before the master did.
        selection.complete_round(&round(&[(1, lone_master(FIRST, NONE)), (2, replica(FIRST))], 1));
        assert_eq!(selection.facts().online_replicas, 1);
        selection.complete_round(&round(&[(1, lone_master(FIRST, NONE)), (2, replica(FIRST))], 1));
        assert_eq!(selection.facts().online_replicas, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_master_stays_while_no_other_server_is_known_to_replace_it() {
        let selection = selection();
        for servers in [vec![], vec![(2, replica(FIRST))], vec![(3, master(SECOND, NONE))]] {
            assert!(!selection.complete_round(&round(&servers, 1)), "{servers:?}");
        }
        assert_eq!(selection.node(), Some(node(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_demoted_master_leads_to_its_new_master() {
        let selection = selection();
        assert!(selection.complete_round(&round(&[(1, replica(SECOND)), (2, master(SECOND, NONE))], 9)));
        assert_eq!(selection.node(), Some(node(2)));
        // A replica that was detached by hand, and that the Sentinels attach again.
        assert!(selection.complete_round(&round(&[(1, master(FIRST, NONE)), (2, replica(FIRST))], 1)));
        assert_eq!(selection.node(), Some(node(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn two_failovers_in_one_interval_are_followed_by_the_sentinels_word() {
        let selection = selection();
        let third = "3333333333333333333333333333333333333333";
        let servers = [(1, lone_master(FIRST, NONE)), (2, replica(third)), (3, master(third, SECOND))];
        assert!(selection.complete_round(&round(&servers, 3)));
        assert_eq!(selection.node(), Some(node(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_verification_waits_for_a_round_that_began_after_it() {
        let selection = selection();
        selection.begin_round();
        let promoted = round(&[(2, lone_master(SECOND, FIRST))], 2);
        let (facts, ()) = tokio::join!(selection.verify_master(), async {
            selection.complete_round(&round(&[], 1));
            selection.probe_requested().await;
            selection.begin_round();
            selection.complete_round(&promoted);
        });
        assert_eq!(facts.generation, 1);
    }
}
