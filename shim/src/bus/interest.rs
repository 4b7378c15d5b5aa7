//! Which groups this pod listens for, and from when it can be relied on.
//!
//! ```text
//!            first member             Redis confirms               last member gone
//!  (absent) ─────────────▶ Wanted ───────────────────▶ Confirmed ──────────────────▶ Lingering ──▶ (absent)
//!                            ▲       connection lost        │   ▲     a new member       │
//!                            └──────────────────────────────┘   └────────────────────────┘
//! ```
//! Invariant: what is published for a group after [`Interest::settle`] said so reaches this pod, as long as the group has
//! a member. Membership is read from the hub each time it matters; a change is only a hint to look, so that hints may come
//! in any order. Nothing here talks to Redis. Bound: one entry for each group with a local member, and those that linger.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use foldhash::fast::RandomState;
use handlers::audience::Group;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Wanted,
    Confirmed,
    Lingering,
}

/// What the subscriber is to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Listen for these.
    pub subscribe: Vec<Group>,
    /// Listen for these no more.
    pub unsubscribe: Vec<Group>,
}

/// The groups of this pod.
pub struct Interest {
    state: Mutex<State>,
    /// Groups that got their first or lost their last member. Only ever locked last: the hub does it in the middle of a change.
    hints: Mutex<HashSet<Group, RandomState>>,
    hinted: Notify,
    confirmations: watch::Sender<u64>,
    linger: Duration,
}

#[derive(Default)]
struct State {
    groups: HashMap<Group, Standing, RandomState>,
    lingering: VecDeque<(Instant, Group)>,
}

impl Interest {
    /// Interest in nothing; a group without members is listened for `linger` longer, so that who reconnects finds it.
    #[must_use]
    pub fn new(linger: Duration) -> Self {
        Self {
            state: Mutex::default(),
            hints: Mutex::default(),
            hinted: Notify::new(),
            confirmations: watch::Sender::new(0),
            linger,
        }
    }

    /// Takes a hint that a group got its first or lost its last member.
    pub fn hint(&self, group: &Group) {
        self.hints.lock().insert(group.clone());
        self.hinted.notify_one();
    }

    /// Waits for the next hint, or for the next group that has lingered long enough.
    pub async fn changed(&self) {
        let due = self.state.lock().lingering.front().map(|(due, _)| *due);
        match due {
            Some(due) => {
                let _ = tokio::time::timeout_at(due, self.hinted.notified()).await;
            }
            None => self.hinted.notified().await,
        }
    }

    /// What is to be done now. `has_members` asks the hub.
    pub fn steps(&self, now: Instant, has_members: impl Fn(&Group) -> bool) -> Steps {
        let hints = std::mem::take(&mut *self.hints.lock());
        let mut state = self.state.lock();
        let mut steps = Steps::default();
        for group in hints {
            state.look_at(group, now + self.linger, &has_members, &mut steps.subscribe);
        }
        state.end_lingering(now, &has_members, &mut steps.unsubscribe);
        steps
    }

    /// Everything that is to be listened for on a fresh connection, none of it confirmed.
    pub fn restart(&self, has_members: impl Fn(&Group) -> bool) -> Vec<Group> {
        let mut state = self.state.lock();
        state.lingering.clear();
        state.groups.retain(|group, _| has_members(group));
        state.groups.values_mut().for_each(|standing| *standing = Standing::Wanted);
        state.groups.keys().cloned().collect()
    }

    /// Notes that Redis confirmed these.
    pub fn confirm(&self, groups: &[Group]) {
        let mut state = self.state.lock();
        for group in groups {
            if let Some(standing @ Standing::Wanted) = state.groups.get_mut(group) {
                *standing = Standing::Confirmed;
            }
        }
        drop(state);
        self.confirmations.send_modify(|count| *count += 1);
    }

    /// Whether all of these groups, which have members, are listened for.
    #[must_use]
    pub fn is_settled(&self, groups: &[Group]) -> bool {
        let state = self.state.lock();
        groups.iter().all(|group| state.groups.get(group).is_some_and(|standing| *standing != Standing::Wanted))
    }

    /// Waits until they are; the caller brings the deadline.
    pub async fn settle(&self, groups: &[Group]) {
        let mut confirmations = self.confirmations.subscribe();
        while !self.is_settled(groups) {
            // The sender lives as long as `self`.
            let _ = confirmations.changed().await;
        }
    }

    /// How many groups are listened for.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.lock().groups.len()
    }
}

impl State {
    fn look_at(
        &mut self,
        group: Group,
        due: Instant,
        has_members: impl Fn(&Group) -> bool,
        subscribe: &mut Vec<Group>,
    ) {
        match (has_members(&group), self.groups.get_mut(&group)) {
            (true, None) => {
                subscribe.push(group.clone());
                self.groups.insert(group, Standing::Wanted);
            }
            (true, Some(standing @ Standing::Lingering)) => *standing = Standing::Confirmed,
            // Steps are taken one after the other, so whatever is wanted here is confirmed, or its connection is lost.
            (false, Some(standing @ (Standing::Wanted | Standing::Confirmed))) => {
                *standing = Standing::Lingering;
                self.lingering.push_back((due, group));
            }
            (true, Some(Standing::Wanted | Standing::Confirmed)) | (false, None | Some(Standing::Lingering)) => {}
        }
    }

    fn end_lingering(&mut self, now: Instant, has_members: impl Fn(&Group) -> bool, unsubscribe: &mut Vec<Group>) {
        while let Some((_, group)) = self.lingering.pop_front_if(|(due, _)| *due <= now) {
            let Some(standing @ Standing::Lingering) = self.groups.get_mut(&group) else { continue };
            if has_members(&group) {
                *standing = Standing::Confirmed;
            } else {
                self.groups.remove(&group);
                unsubscribe.push(group);
            }
        }
    }
}

#[cfg(test)]
mod tests;
