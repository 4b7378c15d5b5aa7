//! Subscription state of the groups of this pod.
//!
//! ```text
//!            first member            Redis confirms              last member gone
//!  (absent) ─────────────▶ Pending ──────────────────▶ Active ──────────────────▶ Draining ──▶ (absent)
//!                             ▲      connection lost     │  ▲      new member        │  `unsubscribe_delay`
//!                             └──────────────────────────┘  └───────────────────────┘
//! ```
//! Records published for a group after [`GroupSubscriptions::wait_subscribed`] has returned reach this pod, as long as
//! the group has a member and the connection lasts. Membership is read from the hub when it is needed; a change
//! notification only triggers the read, so notifications may arrive in any order. Pure state: the subscriber task sends
//! the commands to Redis. Holds one entry per group with local members, plus the draining ones.

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

/// Commands for the subscriber to send.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SubscriptionChanges {
    /// Groups to subscribe to.
    pub subscribe: Vec<Group>,
    /// Groups to unsubscribe from.
    pub unsubscribe: Vec<Group>,
}

/// The groups that this pod is, or will be, subscribed to.
pub struct GroupSubscriptions {
    state: Mutex<SubscriptionTable>,
    /// Groups that got their first or lost their last member. Always the innermost lock, because the hub takes it while
    /// it holds its own lock.
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
    /// Creates an empty set. A group is unsubscribed `unsubscribe_delay` after its last member left, so that a
    /// reconnecting client finds it still subscribed.
    #[must_use]
    pub fn new(unsubscribe_delay: Duration) -> Self {
        Self {
            state: Mutex::default(),
            changed_groups: Mutex::default(),
            groups_changed: Notify::new(),
            confirmations: watch::Sender::new(0),
            unsubscribe_delay,
        }
    }

    /// Records that a group got its first member or lost its last one.
    pub fn mark_changed(&self, group: &Group) {
        self.changed_groups.lock().insert(group.clone());
        self.groups_changed.notify_one();
    }

    /// Waits for the next recorded change, or for the end of the next group's unsubscribe delay.
    pub async fn wait_changed(&self) {
        let deadline = self.state.lock().draining.front().map(|(deadline, _)| *deadline);
        match deadline {
            Some(deadline) => {
                let _ = tokio::time::timeout_at(deadline, self.groups_changed.notified()).await;
            }
            None => self.groups_changed.notified().await,
        }
    }

    /// Returns the commands for all recorded changes and expired delays. `has_members` reads the membership from the
    /// hub.
    pub fn take_changes(&self, now: Instant, has_members: impl Fn(&Group) -> bool) -> SubscriptionChanges {
        let changed_groups = std::mem::take(&mut *self.changed_groups.lock());
        let mut state = self.state.lock();
        let mut changes = SubscriptionChanges::default();
        for group in changed_groups {
            state.update_group(group, now + self.unsubscribe_delay, &has_members, &mut changes.subscribe);
        }
        state.end_draining(now, &has_members, &mut changes.unsubscribe);
        changes
    }

    /// Resets all groups to pending after the connection was lost. Returns the groups to subscribe to on the new
    /// connection.
    pub fn reset_pending(&self, has_members: impl Fn(&Group) -> bool) -> Vec<Group> {
        let mut state = self.state.lock();
        state.draining.clear();
        state.groups.retain(|group, _| has_members(group));
        state.groups.values_mut().for_each(|subscription| *subscription = SubscriptionState::Pending);
        state.groups.keys().cloned().collect()
    }

    /// Marks pending groups as active, after Redis confirmed the subscription.
    pub fn confirm_active(&self, groups: &[Group]) {
        let mut state = self.state.lock();
        for group in groups {
            if let Some(subscription @ SubscriptionState::Pending) = state.groups.get_mut(group) {
                *subscription = SubscriptionState::Active;
            }
        }
        drop(state);
        self.confirmations.send_modify(|count| *count += 1);
    }

    /// Returns whether Redis has confirmed the subscription of all `groups`.
    #[must_use]
    pub fn is_subscribed(&self, groups: &[Group]) -> bool {
        let state = self.state.lock();
        groups.iter().all(|group| {
            state.groups.get(group).is_some_and(|subscription| *subscription != SubscriptionState::Pending)
        })
    }

    /// Waits until [`Self::is_subscribed`] is true for `groups`. The caller must apply a timeout.
    pub async fn wait_subscribed(&self, groups: &[Group]) {
        let mut confirmations = self.confirmations.subscribe();
        while !self.is_subscribed(groups) {
            // The sender lives as long as `self`.
            let _ = confirmations.changed().await;
        }
    }

    /// Returns the number of groups, in any state.
    #[must_use]
    pub fn group_count(&self) -> usize {
        self.state.lock().groups.len()
    }
}

impl SubscriptionTable {
    fn update_group(
        &mut self,
        group: Group,
        unsubscribe_at: Instant,
        has_members: impl Fn(&Group) -> bool,
        subscribe: &mut Vec<Group>,
    ) {
        match (has_members(&group), self.groups.get_mut(&group)) {
            (true, None) => {
                subscribe.push(group.clone());
                self.groups.insert(group, SubscriptionState::Pending);
            }
            (true, Some(subscription @ SubscriptionState::Draining)) => *subscription = SubscriptionState::Active,
            // Commands run one after the other: a pending group has been confirmed by now, or its connection was lost.
            (false, Some(subscription @ (SubscriptionState::Pending | SubscriptionState::Active))) => {
                *subscription = SubscriptionState::Draining;
                self.draining.push_back((unsubscribe_at, group));
            }
            (true, Some(SubscriptionState::Pending | SubscriptionState::Active))
            | (false, None | Some(SubscriptionState::Draining)) => {}
        }
    }

    fn end_draining(&mut self, now: Instant, has_members: impl Fn(&Group) -> bool, unsubscribe: &mut Vec<Group>) {
        while let Some((_, group)) = self.draining.pop_front_if(|(unsubscribe_at, _)| *unsubscribe_at <= now) {
            let Some(subscription @ SubscriptionState::Draining) = self.groups.get_mut(&group) else { continue };
            if has_members(&group) {
                *subscription = SubscriptionState::Active;
            } else {
                self.groups.remove(&group);
                unsubscribe.push(group);
            }
        }
    }
}

#[cfg(test)]
mod tests;
