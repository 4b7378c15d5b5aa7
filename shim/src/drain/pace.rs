//! Pace of a drain: the size of the batches and the waits between them.
//!
//! A slow server that accepts the clients shows in two places: in this one, where `$disconnect` is slow for the same
//! reasons, and in the number of connections of the other servers, which grows more slowly than batches are closed.
//! Then the next batch waits, and is half as large; a batch that is accepted within the interval doubles the size. The
//! number of clients that reconnect at a time, and so the time that each of them takes, follows what the others can
//! accept.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::PeerConnections;
use crate::config::DrainConfig;
use crate::connection::Connection;

/// Interval at which the end of a batch's sessions is checked.
const SESSION_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Interval at which the connections of the other servers are counted: one command each.
const PEER_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// A wait takes at most one part in this many of the time that is left, so that the batches after it can wait too.
const MAX_WAIT_DIVISOR: u32 = 4;
/// Part of the largest batch with which a drain starts, if other servers accept the clients.
const FIRST_BATCH_DIVISOR: usize = 4;
/// Minimum batch size while other servers are slow.
const MIN_BATCH_SIZE: usize = 5;

/// Batches and waits of one drain.
pub(super) struct DrainPace {
    peers: Option<PeerGrowth>,
    interval: Duration,
    /// Time by which the last batch starts: three quarters of the grace.
    ends_at: Instant,
    size: usize,
    max_size: usize,
}

/// Growth of the other servers since the start of the drain.
struct PeerGrowth {
    connections: Arc<dyn PeerConnections>,
    at_start: u64,
    closed: u64,
}

impl DrainPace {
    /// Starts a drain of this number of connections.
    pub(super) async fn start(
        config: &DrainConfig,
        peers: Option<Arc<dyn PeerConnections>>,
        connections: usize,
    ) -> Self {
        let ends_at = Instant::now() + config.grace * 3 / 4;
        let peers = match peers {
            Some(peers) => {
                let at_start = peers.count_connections().await;
                at_start.map(|at_start| PeerGrowth { connections: peers, at_start, closed: 0 })
            }
            None => None,
        };
        let max_size = config.batch_size_for(connections).max(1);
        let first_size = (max_size / FIRST_BATCH_DIVISOR).max(MIN_BATCH_SIZE).min(max_size);
        let size = if peers.is_some() { first_size } else { max_size };
        Self { peers, interval: config.batch_interval, ends_at, size, max_size }
    }

    /// Returns the size of the next batch when `rest` connections are left: large enough that the last batch starts in
    /// time.
    pub(super) fn batch_size(&self, rest: usize) -> usize {
        let left = self.ends_at.saturating_duration_since(Instant::now()).as_millis();
        let intervals = left / self.interval.max(Duration::from_millis(1)).as_millis();
        let needed = rest.div_ceil(usize::try_from(intervals).unwrap_or(usize::MAX).max(1));
        self.size.max(needed)
    }

    /// Waits until half of the batch has closed and, before another batch, until the other servers have accepted the
    /// clients of the batches before this one and half of its own. Takes at most the share of this batch.
    pub(super) async fn wait_for_next_batch(&mut self, batch: &[Weak<Connection>], rest: usize) {
        let started_at = Instant::now();
        let max_wait = self.max_wait(started_at, rest);
        let mut peers = self.peers.take_if(|_| rest > 0);
        if let Some(peers) = &mut peers {
            peers.closed += batch.len() as u64;
        }
        let accepted = async {
            wait_half_closed(batch).await;
            if let Some(peers) = &peers {
                peers.wait_accepted(batch.len() as u64).await;
            }
        };
        let in_time = timeout(max_wait, accepted).await.is_ok();
        if peers.is_some() {
            self.adapt_size(started_at.elapsed());
        }
        self.peers = match peers {
            Some(peers) if !in_time => peers.restart().await,
            peers => peers,
        };
    }

    /// Returns the longest wait before the next batch.
    fn max_wait(&self, now: Instant, rest: usize) -> Duration {
        let batches = u32::try_from(rest.div_ceil(self.size)).unwrap_or(u32::MAX);
        let latest_start = self.ends_at.checked_sub(self.interval.saturating_mul(batches)).unwrap_or(now);
        latest_start.saturating_duration_since(now) / MAX_WAIT_DIVISOR
    }

    fn adapt_size(&mut self, waited: Duration) {
        if waited > self.interval {
            self.size = (self.size / 2).max(MIN_BATCH_SIZE.min(self.max_size));
        } else if waited <= self.interval / 2 {
            self.size = (self.size * 2).min(self.max_size);
        }
    }
}

impl PeerGrowth {
    /// Waits until all closed connections but half of the last batch, of `size`, are accepted by other servers.
    /// Resolves at once while their number is unknown.
    async fn wait_accepted(&self, size: u64) {
        let wanted = self.at_start + self.closed - size.div_ceil(2);
        while self.connections.count_connections().await.is_some_and(|count| count < wanted) {
            sleep(PEER_POLL_INTERVAL).await;
        }
    }

    /// Forgets clients that did not reconnect in time. Returns `None` when none reconnected: the other servers stop
    /// too, or the clients have left for good.
    async fn restart(self) -> Option<Self> {
        let count = self.connections.count_connections().await?;
        (count > self.at_start).then_some(Self { at_start: count, closed: 0, ..self })
    }
}

/// Waits until half of the batch has closed. A session holds its [`Connection`] until its `$disconnect` has run.
async fn wait_half_closed(batch: &[Weak<Connection>]) {
    while batch.iter().filter(|connection| connection.strong_count() > 0).count() * 2 > batch.len() {
        sleep(SESSION_POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    struct OtherServers(Option<u64>);

    #[async_trait]
    impl PeerConnections for OtherServers {
        async fn count_connections(&self) -> Option<u64> {
            self.0
        }
    }

    fn config() -> DrainConfig {
        DrainConfig {
            delay: Duration::ZERO,
            batch_size: 50,
            batch_interval: Duration::from_millis(250),
            grace: Duration::from_secs(20),
            termination_grace: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn batches_grow_while_they_are_accepted_at_once_and_shrink_while_they_are_not() {
        let mut pace = DrainPace::start(&config(), Some(Arc::new(OtherServers(Some(7)))), 500).await;
        let mut sizes = vec![pace.batch_size(500)];
        for waited in [0, 100, 0, 150, 300, 1_000, 1_000, 1_000, 50] {
            pace.adapt_size(Duration::from_millis(waited));
            sizes.push(pace.batch_size(100));
        }
        assert_eq!(sizes, [12, 24, 48, 50, 50, 25, 12, 6, 5, 10]);
    }

    #[tokio::test(start_paused = true)]
    async fn batches_are_large_enough_for_the_time_that_is_left() {
        let pace = DrainPace::start(&config(), Some(Arc::new(OtherServers(Some(7)))), 500).await;
        tokio::time::advance(Duration::from_secs(14)).await;
        assert_eq!(pace.batch_size(400), 100, "four intervals until three quarters of the grace");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(pace.batch_size(400), 400);
    }

    #[tokio::test(start_paused = true)]
    async fn without_other_servers_every_batch_has_the_configured_size() {
        for peers in [None, Some(Arc::new(OtherServers(None)) as Arc<dyn PeerConnections>)] {
            let pace = DrainPace::start(&config(), peers, 500).await;
            assert_eq!(pace.batch_size(500), 50);
        }
    }
}
