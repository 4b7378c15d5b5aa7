//! Events of probes in this process.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::sync::Notify;

use super::Recorder;
use crate::conformance::event::{Event, Kind};

/// Most events kept for a case to take; more than any case makes. The oldest of a kind go first.
const KEPT: usize = 1024;

/// Events in memory.
pub struct Memory {
    lanes: Mutex<HashMap<Kind, Lane>>,
    came: Notify,
    patience: Duration,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Event>,
    seen: usize,
}

impl Memory {
    /// A recorder that waits at most `patience` for an event.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { lanes: Mutex::default(), came: Notify::new(), patience }
    }

    /// Takes an event in.
    pub fn record(&self, event: Event) {
        {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let lane = lanes.entry(event.kind()).or_default();
            lane.seen += 1;
            lane.waiting.push_back(event);
            if lane.waiting.len() > KEPT {
                lane.waiting.pop_front();
            }
        }
        self.came.notify_waiters();
    }

    /// The next event of `kind` that is here already.
    pub(super) fn take(&self, kind: Kind) -> Option<Event> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.get_mut(&kind)?.waiting.pop_front()
    }

    pub(super) fn seen(&self, kind: Kind) -> usize {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.get(&kind).map_or(0, |lane| lane.seen)
    }

    async fn wait_for(&self, kind: Kind) -> Event {
        loop {
            let mut came = std::pin::pin!(self.came.notified());
            came.as_mut().enable();
            if let Some(event) = self.take(kind) {
                return event;
            }
            came.await;
        }
    }
}

#[async_trait]
impl Recorder for Memory {
    async fn next(&self, kind: Kind) -> anyhow::Result<Event> {
        let event = tokio::time::timeout(self.patience, self.wait_for(kind)).await;
        event.with_context(|| format!("no {kind:?} event within {:?}", self.patience))
    }

    async fn count(&self, kind: Kind) -> anyhow::Result<usize> {
        Ok(self.seen(kind))
    }
}
