//! Which groups this pod listens for, and from when it can be relied on.
//!
//! ```text
//!            first member             Redis confirms               last member gone
//!  (absent) ─────────────▶ Wanted ───────────────────▶ Confirmed ──────────────────▶ Lingering ──▶ (absent)
//!                            ▲       connection lost        │   ▲     a new member       │
//!                            └──────────────────────────────┘   └────────────────────────┘
//! ```
//! Invariant: what is published for a group after [`GroupSubscriptions::wait_subscribed`] said so reaches this pod, as long as the group has
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
enum SubscriptionState {
    Pending,
    Active,
    Draining,
}

/// What the subscriber is to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SubscriptionChanges {
    /// Listen for these.
    pub subscribe: Vec<Group>,
    /// Listen for these no more.
    pub unsubscribe: Vec<Group>,
}

/// The groups of this pod.
pub struct GroupSubscriptions {
    state: Mutex<SubscriptionTable>,
    /// Groups that got their first or lost their last member. Only ever locked last: the hub does it in the middle of a change.
    changed_groups: Mutex<HashSet<Group, RandomState>>,
    groups_changed: Notify,
    confirmations: watch::Sender<u64>,
    unsubscribe_delay: Duration,
}

#[derive(Default)]
struct SubscriptionTable {
    groups: HashMap<Group, SubscriptionState, RandomState>,
    draining: VecDeque<(Instant, Group)>,
}

impl GroupSubscriptions {
    /// Interest in nothing; a group without members is listened for `linger` longer, so that who reconnects finds it.
    #[must_use]
    pub fn new(linger: Duration) -> Self {
        Self {
            state: Mutex::default(),
            changed_groups: Mutex::default(),
            groups_changed: Notify::new(),
            confirmations: watch::Sender::new(0),
            unsubscribe_delay: linger,
        }
    }

    /// Takes a hint that a group got its first or lost its last member.
    pub fn mark_changed(&self, group: &Group) {
        self.changed_groups.lock().insert(group.clone());
        self.groups_changed.notify_one();
    }

    /// Waits for the next hint, or for the next group that has lingered long enough.
    pub async fn wait_changed(&self) {
        let due = self.state.lock().draining.front().map(|(due, _)| *due);
        match due {
            Some(due) => {
                let _ = tokio::time::timeout_at(due, self.groups_changed.notified()).await;
            }
            None => self.groups_changed.notified().await,
        }
    }

    /// What is to be done now. `has_members` asks the hub.
    pub fn take_changes(&self, now: Instant, has_members: impl Fn(&Group) -> bool) -> SubscriptionChanges {
        let hints = std::mem::take(&mut *self.changed_groups.lock());
        let mut state = self.state.lock();
        let mut steps = SubscriptionChanges::default();
        for group in hints {
            state.update_group(group, now + self.unsubscribe_delay, &has_members, &mut steps.subscribe);
        }
        state.end_draining(now, &has_members, &mut steps.unsubscribe);
        steps
    }

    /// Everything that is to be listened for on a fresh connection, none of it confirmed.
    pub fn reset_pending(&self, has_members: impl Fn(&Group) -> bool) -> Vec<Group> {
        let mut state = self.state.lock();
        state.draining.clear();
        state.groups.retain(|group, _| has_members(group));
        state.groups.values_mut().for_each(|standing| *standing = SubscriptionState::Pending);
        state.groups.keys().cloned().collect()
    }

    /// Notes that Redis confirmed these.
    pub fn confirm_active(&self, groups: &[Group]) {
        let mut state = self.state.lock();
        for group in groups {
            if let Some(standing @ SubscriptionState::Pending) = state.groups.get_mut(group) {
                *standing = SubscriptionState::Active;
            }
        }
        drop(state);
        self.confirmations.send_modify(|count| *count += 1);
    }

    /// Whether all of these groups, which have members, are listened for.
    #[must_use]
    pub fn is_subscribed(&self, groups: &[Group]) -> bool {
        let state = self.state.lock();
        groups
            .iter()
            .all(|group| state.groups.get(group).is_some_and(|standing| *standing != SubscriptionState::Pending))
    }

    /// Waits until they are; the caller brings the deadline.
    pub async fn wait_subscribed(&self, groups: &[Group]) {
        let mut confirmations = self.confirmations.subscribe();
        while !self.is_subscribed(groups) {
            // The sender lives as long as `self`.
            let _ = confirmations.changed().await;
        }
    }

    /// How many groups are listened for.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.state.lock().groups.len()
    }
}

impl SubscriptionTable {
    fn update_group(
        &mut self,
        group: Group,
        due: Instant,
        has_members: impl Fn(&Group) -> bool,
        subscribe: &mut Vec<Group>,
    ) {
        match (has_members(&group), self.groups.get_mut(&group)) {
            (true, None) => {
                subscribe.push(group.clone());
                self.groups.insert(group, SubscriptionState::Pending);
            }
            (true, Some(standing @ SubscriptionState::Draining)) => *standing = SubscriptionState::Active,
            // Steps are taken one after the other, so whatever is wanted here is confirmed, or its connection is lost.
            (false, Some(standing @ (SubscriptionState::Pending | SubscriptionState::Active))) => {
                *standing = SubscriptionState::Draining;
                self.draining.push_back((due, group));
            }
            (true, Some(SubscriptionState::Pending | SubscriptionState::Active))
            | (false, None | Some(SubscriptionState::Draining)) => {}
        }
    }

    fn end_draining(&mut self, now: Instant, has_members: impl Fn(&Group) -> bool, unsubscribe: &mut Vec<Group>) {
        while let Some((_, group)) = self.draining.pop_front_if(|(due, _)| *due <= now) {
            let Some(standing @ SubscriptionState::Draining) = self.groups.get_mut(&group) else { continue };
            if has_members(&group) {
                *standing = SubscriptionState::Active;
            } else {
                self.groups.remove(&group);
                unsubscribe.push(group);
            }
        }
    }
}

#[cfg(test)]
mod tests;
