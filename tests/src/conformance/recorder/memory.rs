//! Event recorder in memory.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::sync::Notify;

use super::EventRecorder;
use crate::conformance::event::{Event, EventKind};

/// Maximum number of stored events per kind, more than any case causes; the oldest are dropped.
const MAX_STORED_EVENTS: usize = 1024;

/// Recorder of events in memory.
pub struct MemoryRecorder {
    queues: Mutex<HashMap<EventKind, EventQueue>>,
    event_recorded: Notify,
    timeout: Duration,
}

#[derive(Default)]
struct EventQueue {
    waiting: VecDeque<Event>,
    seen: usize,
}

impl MemoryRecorder {
    /// Returns a recorder that waits at most `timeout` for an event.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { queues: Mutex::default(), event_recorded: Notify::new(), timeout }
    }

    /// Records an event.
    pub fn record(&self, event: Event) {
        {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queues.entry(event.kind()).or_default();
            queue.seen += 1;
            queue.waiting.push_back(event);
            if queue.waiting.len() > MAX_STORED_EVENTS {
                queue.waiting.pop_front();
            }
        }
        self.event_recorded.notify_waiters();
    }

    /// Removes and returns the next recorded event of `kind`.
    pub(super) fn take(&self, kind: EventKind) -> Option<Event> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.get_mut(&kind)?.waiting.pop_front()
    }

    pub(super) fn seen(&self, kind: EventKind) -> usize {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.get(&kind).map_or(0, |queue| queue.seen)
    }

    async fn wait_for(&self, kind: EventKind) -> Event {
        loop {
            let mut event_recorded = std::pin::pin!(self.event_recorded.notified());
            event_recorded.as_mut().enable();
            if let Some(event) = self.take(kind) {
                return event;
            }
            event_recorded.await;
        }
    }
}

#[async_trait]
impl EventRecorder for MemoryRecorder {
    async fn next(&self, kind: EventKind) -> anyhow::Result<Event> {
        let event = tokio::time::timeout(self.timeout, self.wait_for(kind)).await;
        event.with_context(|| format!("no {kind:?} event within {:?}", self.timeout))
    }

    async fn count(&self, kind: EventKind) -> anyhow::Result<usize> {
        Ok(self.seen(kind))
    }
}
