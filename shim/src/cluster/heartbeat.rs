//! The heartbeat: one command that extends this pod's lease and tells how the others are, and what follows from it.
//!
//! Invariants: nobody is declared dead until heartbeats have succeeded for a whole lease without a break, because after an
//! outage of Redis all leases have lapsed and nobody is dead; when this pod was fenced it stops to hold its connections
//! before anything else, so that their `$disconnect` stays the other pods' affair.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::ledger::{Beat, Claimed};
use super::{JoinError, Member, Reapable, Served, claim};
use crate::readiness::Part;
use crate::redis::{LinkState, RedisTrouble};

/// The task that keeps the lease.
pub(super) struct Heartbeat {
    member: Arc<Member>,
    served: Served,
    found: watch::Sender<Reapable>,
    /// Since when no heartbeat was missed.
    steady: Option<Instant>,
    /// Whether a number has to be claimed before anything else.
    homeless: bool,
}

impl Heartbeat {
    pub(super) fn new(member: Arc<Member>, served: Served, found: watch::Sender<Reapable>) -> Self {
        Self { member, served, found, steady: None, homeless: false }
    }

    /// Beats until `stop`; at once when Redis has come back.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut link = self.member.redis.state();
        let mut ticks = interval(self.member.settings.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = link.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            let up = *link.borrow_and_update() == LinkState::Up;
            self.served.readiness.note(Part::Redis, up);
            tokio::select! {
                () = self.turn(up) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn turn(&mut self, up: bool) {
        if !up {
            return self.missed(None);
        }
        if self.homeless && self.settle_anew().await.is_break() {
            return;
        }
        let name = self.member.name();
        match timeout(self.member.settings.heartbeat, self.member.ledger.beat(&name)).await {
            Ok(Ok(beat)) => self.take_in(beat).await,
            Ok(Err(error)) => self.missed(Some(&error)),
            Err(_) => self.missed(Some(&RedisTrouble::Late)),
        }
    }

    fn missed(&mut self, error: Option<&RedisTrouble>) {
        self.member.metrics.missed.inc();
        if self.steady.take().is_some() {
            let error = error.unwrap_or(&RedisTrouble::Away);
            tracing::warn!(error = %errors::chain(error), "a heartbeat was missed");
        }
    }

    async fn take_in(&mut self, beat: Beat) {
        self.member.metrics.living.set(i64::try_from(beat.living).unwrap_or(i64::MAX));
        if !beat.held {
            return self.not_held(&beat).await;
        }
        if self.steady.is_none() {
            self.member.registry.doubt();
        }
        let steady = *self.steady.get_or_insert_with(Instant::now);
        let lapsed = if steady.elapsed() >= self.member.settings.lease { beat.lapsed } else { Vec::new() };
        if lapsed.is_empty() && beat.fenced.is_empty() {
            self.member.metrics.backlog.set(0);
        } else {
            self.found.send_replace(Reapable { lapsed, fenced: beat.fenced });
        }
    }

    /// The lease is gone: either others took it away, or Redis has lost all leases.
    async fn not_held(&mut self, beat: &Beat) {
        self.steady = None;
        if *self.member.epoch.lock() == beat.epoch {
            self.member.metrics.lost.inc();
            let left = self.member.registry.surrender();
            tracing::error!(
                pod = %self.member.name(),
                connections = left,
                "other pods took this pod for dead and finish its connections: closing them here"
            );
            let _ = self.move_house().await;
        } else {
            self.restore().await;
        }
    }

    /// Takes the same number again after Redis lost its data.
    async fn restore(&mut self) {
        let name = self.member.name();
        let fresh = self.member.clock.fresh_id();
        match self.member.ledger.claim(name.boot(), &fresh, &[name.node()]).await {
            Ok(Some(Claimed { epoch, .. })) => {
                tracing::warn!(pod = %name, "Redis has lost its data: writing this pod and its connections down again");
                *self.member.epoch.lock() = epoch;
                if self.served.reconnect_on_data_loss {
                    self.send_all_away_once_written_down();
                }
                self.member.registry.doubt();
            }
            Ok(None) => {
                // The connections are still this pod's to finish, but their ids lead to another pod now.
                tracing::error!(pod = %name, "Redis has lost its data, and another pod has taken this one's number");
                let _ = self.move_house().await;
                self.member.registry.doubt();
            }
            Err(error) => self.missed(Some(&error)),
        }
    }

    /// Takes another number, and sends away everyone whose id carries the old one.
    async fn move_house(&mut self) -> ControlFlow<()> {
        self.homeless = true;
        self.served.readiness.note(Part::Lease, false);
        // Whoever opens after this has a new number, or is found out by the registry.
        self.send_all_away();
        self.settle_anew().await
    }

    /// Tells everyone to reconnect, in waves.
    fn send_all_away(&self) {
        let (drain, handles) = (self.served.drain.clone(), self.served.drain.connections.all());
        self.served.drain.tasks.spawn(async move { drain.send_waves(handles).await });
    }

    /// The same for a pod that holds its connections still: should it die meanwhile, the others finish them.
    fn send_all_away_once_written_down(&self) {
        // Who comes from here on is known again.
        let (drain, handles) = (self.served.drain.clone(), self.served.drain.connections.all());
        let (mut compared, patience) = (self.member.registry.comparisons(), self.member.settings.lease);
        self.served.drain.tasks.spawn(async move {
            // Late is better than never: who is sent away is told, whether the others know of it or not.
            let _ = timeout(patience, compared.changed()).await;
            drain.send_waves(handles).await;
        });
    }

    async fn settle_anew(&mut self) -> ControlFlow<()> {
        match claim(&self.member.ledger, &*self.member.clock).await {
            Ok(Claimed { name, epoch }) => {
                tracing::info!(pod = %name, "joined the cluster again");
                *self.member.epoch.lock() = epoch;
                self.member.lease.send_replace(name.clone());
                self.served.disconnects.ids.renumber(name.node());
                self.homeless = false;
                self.served.readiness.note(Part::Lease, true);
                ControlFlow::Continue(())
            }
            Err(error) => {
                if let JoinError::Redis(error) = &error {
                    self.missed(Some(error));
                }
                tracing::error!(error = %errors::chain(&error), "no node number could be claimed");
                ControlFlow::Break(())
            }
        }
    }
}
