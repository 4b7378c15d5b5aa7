//! What the registry does in the background: strikes off what has ended, finishes what could not end, compares with Redis.
//!
//! Invariant: one task does all of it, in turn, so that an end is never overtaken by a comparison that writes the same
//! connection down again. While Redis is away it waits; nothing is lost meanwhile, because nobody is admitted either.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::stream::{self, StreamExt as _};
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use gateway::id::GatewayId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Registry;
use crate::connection::ConnectionRegistry as _;
use crate::redis::{LinkState, RedisTrouble};
use crate::session::DisconnectRunner;

/// Most connections that one command writes, looks up or strikes off.
const BATCH: usize = 256;
/// How often a `$disconnect` is tried in all while Redis is there: a handler that fails so often fails for its own reasons.
const ATTEMPTS: u8 = 8;
/// How many left-over `$disconnect`s run at a time.
const AT_ONCE: usize = 32;

/// The registry's background task.
pub(in crate::cluster) struct Upkeep {
    pub(in crate::cluster) registry: Registry,
    pub(in crate::cluster) disconnects: DisconnectRunner,
    pub(in crate::cluster) link: watch::Receiver<LinkState>,
}

impl Upkeep {
    /// Works until `stop`.
    pub(in crate::cluster) async fn run(mut self, stop: CancellationToken) {
        let shared = self.registry.shared.clone();
        loop {
            let done = tokio::select! {
                done = self.turn() => done,
                () = stop.cancelled() => return,
            };
            tokio::select! {
                () = shared.calls.next(done) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Does what there is to do; `false` when something is left.
    async fn turn(&mut self) -> bool {
        if self.link.wait_for(|state| *state == LinkState::Up).await.is_err() {
            return false;
        }
        let doubtful = self.registry.shared.doubtful.swap(false, Ordering::AcqRel);
        if doubtful && let Err(error) = self.registry.compare().await {
            tracing::warn!(error = %errors::chain(&error), "comparing the connections with Redis failed");
            self.registry.shared.doubtful.store(true, Ordering::Release);
            return false;
        }
        let struck = self.registry.strike().await;
        let finished = self.finish().await;
        struck.is_ok() && finished
    }

    /// Runs the `$disconnect`s that are due; `false` when some are due again.
    async fn finish(&self) -> bool {
        let ids = std::mem::take(&mut self.registry.shared.pending.lock().finish);
        let left: Vec<_> = stream::iter(ids)
            .map(|id| self.finish_one(id))
            .buffer_unordered(AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        let none = left.is_empty();
        let mut pending = self.registry.shared.pending.lock();
        pending.finish.extend(left);
        self.registry.shared.metrics.unfinished.set(i64::try_from(pending.finish.len()).unwrap_or(i64::MAX));
        none
    }

    /// Runs one `$disconnect`; gives the id back when it has to run again.
    async fn finish_one(&self, id: GatewayId) -> Option<GatewayId> {
        let (facts, cause) = self.registry.unfinished(id)?;
        if self.disconnects.run(&facts, &cause).await.is_ok() {
            self.registry.forget(id);
            return None;
        }
        if !self.disconnects.retry.is_allowed() || (self.is_up() && self.registry.gives_up(id)) {
            tracing::warn!(connection.id = %id, "giving a $disconnect up that keeps failing");
            self.registry.forget(id);
            return None;
        }
        Some(id)
    }

    fn is_up(&self) -> bool {
        *self.link.borrow() == LinkState::Up
    }
}

impl Registry {
    fn unfinished(&self, id: GatewayId) -> Option<(Arc<ConnectionFacts>, CloseCause)> {
        let held = self.shared.held.get(&id)?;
        Some((held.facts.clone(), held.unfinished.as_ref()?.cause.clone()))
    }

    /// Counts an attempt; `true` when it was the last.
    fn gives_up(&self, id: GatewayId) -> bool {
        let Some(mut held) = self.shared.held.get_mut(&id) else { return true };
        held.unfinished.as_mut().is_none_or(|unfinished| {
            unfinished.attempts += 1;
            unfinished.attempts >= ATTEMPTS
        })
    }

    /// Strikes off what has ended, as far as Redis takes it. What is being struck off stays in line until that is done.
    pub(in crate::cluster) async fn strike(&self) -> Result<(), RedisTrouble> {
        loop {
            let ids: Vec<_> = self.shared.pending.lock().strike.iter().take(BATCH).copied().collect();
            if ids.is_empty() {
                return Ok(());
            }
            let name = self.shared.lease.borrow().clone();
            self.shared.ledger.strike(&name, &ids).await?;
            let mut pending = self.shared.pending.lock();
            for id in &ids {
                // Another one is in front when the line was cleared meanwhile.
                if pending.strike.front() == Some(id) {
                    pending.strike.pop_front();
                }
            }
        }
    }

    /// Writes down what Redis has forgotten, and strikes off what it should have.
    async fn compare(&self) -> Result<(), RedisTrouble> {
        let name = self.shared.lease.borrow().clone();
        let ids: Vec<GatewayId> = self.shared.held.iter().map(|held| *held.key()).collect();
        let mut rewritten = 0;
        for ids in ids.chunks(BATCH) {
            let missing = self.shared.ledger.missing(&name, ids).await?;
            let record = |id| Some((id, self.shared.held.get(&id)?.facts.to_record()));
            let records: Vec<_> = missing.into_iter().filter_map(record).collect();
            if !records.is_empty() && !self.shared.ledger.enrol(&name, &records).await? {
                // Fenced: the next heartbeat learns it as well.
                return Ok(());
            }
            rewritten += records.len();
        }
        if rewritten > 0 {
            tracing::info!(connections = rewritten, "wrote connections down again that Redis had lost");
        }
        if self.shared.ledger.enrolled(&name).await? > self.shared.held.len() as u64 {
            self.strike_strangers().await?;
        }
        self.shared.compared.send_replace(());
        Ok(())
    }

    /// Strikes off what is written down for this pod and not held by it.
    async fn strike_strangers(&self) -> Result<(), RedisTrouble> {
        let name = self.shared.lease.borrow().clone();
        let mut cursor = 0;
        loop {
            let (next, mut found) = self.shared.ledger.scan(&name, cursor).await?;
            found.retain(|id| !self.holds(*id));
            if !found.is_empty() {
                self.shared.ledger.strike(&name, &found).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }
}
