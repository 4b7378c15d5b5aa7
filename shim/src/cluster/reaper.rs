//! Finishing what dead pods left: fence, share out, one `$disconnect` per connection.
//!
//! ```text
//! lapsed ── fence ── take a share ── $disconnect each ── settle ──┐
//!                        └──────────── until nothing is left ─────┘
//! ```
//! Invariants: nothing is taken from a pod that was not fenced; what was taken stays on this pod's own list until it is
//! finished, so that it finds another survivor when this pod dies as well. A connection whose pod ran its `$disconnect` and
//! died before striking it off gets a second one, as does a share that changes hands: effects are the handlers' to make
//! once.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use gateway::close::CloseCause;
use gateway::event::ConnectionFacts;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ledger::{Name, Taken};
use super::{Member, Reapable};
use crate::readiness::{Readiness, State};
use crate::redis::RedisTrouble;
use crate::session::DisconnectRunner;

/// How often a `$disconnect` that may be repeated is tried before it is given up.
const ATTEMPTS: u8 = 8;
/// How long to wait when nothing of a share could be finished.
const PAUSE: Duration = Duration::from_secs(1);

/// The task that finishes what dead pods left.
pub(super) struct Reaper {
    member: Arc<Member>,
    disconnects: DisconnectRunner,
    readiness: Arc<Readiness>,
    pace: DefaultDirectRateLimiter,
    /// How often each connection of the present share has failed: at most one entry per connection of it.
    failures: HashMap<String, u8>,
}

impl Reaper {
    pub(super) fn new(member: Arc<Member>, disconnects: DisconnectRunner, readiness: Arc<Readiness>) -> Self {
        let some = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota =
            Quota::per_second(some(member.settings.reap_rate)).allow_burst(some(member.settings.reap_concurrency));
        Self { member, disconnects, readiness, pace: RateLimiter::direct(quota), failures: HashMap::new() }
    }

    /// Works on what `reapable` names until `stop`. A share under way is left to the other pods then.
    pub(super) async fn run(mut self, mut reapable: watch::Receiver<Reapable>, stop: CancellationToken) {
        loop {
            tokio::select! {
                changed = reapable.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            let dead = reapable.borrow_and_update().clone();
            tokio::select! {
                () = self.reap(&dead) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn reap(&mut self, dead: &Reapable) {
        for name in &dead.lapsed {
            match self.member.ledger.fence(name).await {
                Ok(true) => {
                    self.member.metrics.fenced.inc();
                    tracing::warn!(pod = %name, "a pod's lease has lapsed: taking its connections over");
                }
                Ok(false) => {}
                Err(error) => return log(&error),
            }
        }
        for name in dead.lapsed.iter().chain(&dead.fenced) {
            if let Err(error) = self.finish(name).await {
                return log(&error);
            }
        }
    }

    /// Finishes shares of a pod's connections until nobody has left any to take.
    async fn finish(&mut self, dead: &Name) -> Result<(), RedisTrouble> {
        let most = self.member.settings.reap_concurrency as usize;
        let mut reaped = 0;
        loop {
            // A pod that is going away leaves the work to those that stay.
            if self.readiness.state() == State::Draining {
                return Ok(());
            }
            let own = self.member.name();
            let Some(share) = self.member.ledger.take(&own, dead, most).await? else { return Ok(()) };
            self.member.metrics.backlog.set(i64::try_from(share.left).unwrap_or(i64::MAX));
            if share.taken.is_empty() {
                break;
            }
            let finished = self.finish_share(&share.taken).await;
            if finished.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
            reaped += finished.len();
            for (origin, fields) in by_origin(finished) {
                self.member.ledger.settle(&own, &origin, &fields).await?;
            }
        }
        let over = self.member.ledger.settle(&self.member.name(), dead, &[]).await?;
        if over || reaped > 0 {
            tracing::info!(pod = %dead, connections = reaped, over, "finished connections of a dead pod");
        }
        Ok(())
    }

    /// Runs the `$disconnect`s of a share and answers which of them need not run again.
    async fn finish_share(&mut self, share: &[Taken]) -> Vec<Taken> {
        let most = self.member.settings.reap_concurrency as usize;
        let mut running = Vec::with_capacity(share.len());
        for taken in share {
            running.push(self.finish_one(taken));
        }
        let outcomes: Vec<bool> = stream::iter(running).buffered(most).collect().await;
        let mut finished = Vec::with_capacity(share.len());
        let mut failures = HashMap::new();
        for (taken, ran) in share.iter().zip(outcomes) {
            let failed = self.failures.get(&taken.field).copied().unwrap_or_default() + 1;
            if ran || failed >= ATTEMPTS || !self.disconnects.retry.is_allowed() {
                finished.push(taken.clone());
            } else {
                failures.insert(taken.field.clone(), failed);
            }
        }
        self.failures = failures;
        finished
    }

    /// Runs one `$disconnect`; `false` when it failed.
    async fn finish_one(&self, taken: &Taken) -> bool {
        let facts = match ConnectionFacts::from_record(&taken.record, &self.disconnects.integration.api) {
            Ok(facts) => facts,
            Err(error) => {
                tracing::error!(pod = %taken.origin, error = %errors::chain(&error), "a dead pod's connection cannot be read");
                return true;
            }
        };
        self.pace.until_ready().await;
        let ran = self.disconnects.run(&facts, &CloseCause::ConnectionLost).await.is_ok();
        self.member.metrics.reaped.inc_by(u64::from(ran));
        ran
    }
}

fn by_origin(finished: Vec<Taken>) -> HashMap<Name, Vec<String>> {
    finished.into_iter().fold(HashMap::new(), |mut fields, taken| {
        fields.entry(taken.origin).or_insert_with(Vec::new).push(taken.field);
        fields
    })
}

/// The next heartbeat names what is left again.
fn log(error: &RedisTrouble) {
    tracing::warn!(error = %errors::chain(error), "finishing the connections of dead pods was interrupted");
}
