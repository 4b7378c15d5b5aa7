//! Events of probes in this process.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::sync::Notify;

use super::EventRecorder;
use crate::conformance::event::{Event, EventKind};

/// Most events kept for a case to take; more than any case makes. The oldest of a kind go first.
const MAX_STORED_EVENTS: usize = 1024;

/// Events in memory.
pub struct MemoryRecorder {
    lanes: Mutex<HashMap<EventKind, EventQueue>>,
    came: Notify,
    patience: Duration,
}

#[derive(Default)]
struct EventQueue {
    waiting: VecDeque<Event>,
    seen: usize,
}

impl MemoryRecorder {
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
            if lane.waiting.len() > MAX_STORED_EVENTS {
                lane.waiting.pop_front();
            }
        }
        self.came.notify_waiters();
    }

    /// The next event of `kind` that is here already.
    pub(super) fn take(&self, kind: EventKind) -> Option<Event> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.get_mut(&kind)?.waiting.pop_front()
    }

    pub(super) fn seen(&self, kind: EventKind) -> usize {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.get(&kind).map_or(0, |lane| lane.seen)
    }

    async fn wait_for(&self, kind: EventKind) -> Event {
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
impl EventRecorder for MemoryRecorder {
    async fn next(&self, kind: EventKind) -> anyhow::Result<Event> {
        let event = tokio::time::timeout(self.patience, self.wait_for(kind)).await;
        event.with_context(|| format!("no {kind:?} event within {:?}", self.patience))
    }

    async fn count(&self, kind: EventKind) -> anyhow::Result<usize> {
        Ok(self.seen(kind))
    }
}
