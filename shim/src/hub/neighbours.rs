//! What a hub asks and tells of the other pods, where there are any.
//!
//! Invariant: without neighbours (the embedded mode) nothing here costs more than the look at an empty cell.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use handlers::audience::{Audience, Group, Members};
use handlers::channel::{Channel, ChannelName};
use handlers::ports::{Placement, Priority};

use super::ChannelDelivery;
use super::wave::Wave;
use crate::connection::Queued;

/// The other pods.
pub trait Neighbours: Send + Sync {
    /// A group is about to get its first member here, or to lose its last one. Called in the middle of the change: it must
    /// not wait and must not ask the hub.
    fn membership_changed(&self, group: &Group);

    /// Resolves, after a bounded time in any case, when what others send to these groups reaches this process; `None` when
    /// it does already.
    fn settle(&self, groups: Vec<Group>) -> Option<BoxFuture<'static, ()>>;
}

impl ChannelDelivery {
    /// Makes this hub one of several. Once, before it has connections.
    pub fn attach(&self, neighbours: Arc<dyn Neighbours>) {
        self.shared.index.watch(neighbours);
    }

    /// The other pods, where there are any.
    pub fn neighbours(&self) -> Option<&Arc<dyn Neighbours>> {
        self.shared.index.watcher()
    }

    /// Whether a group has members here.
    pub fn has_members(&self, group: &Group) -> bool {
        self.shared.index.has_members(group)
    }

    /// The groups of a channel's readers that have members here.
    pub fn groups_here(&self, channel: &Channel) -> Vec<Group> {
        match Audience::Channel(channel.clone()).members() {
            Members::Union(groups) => groups.into_iter().filter(|group| self.has_members(group)).collect(),
            Members::One(_) => Vec::new(),
        }
    }

    /// Takes in what another pod published for group number `part` of an audience.
    pub fn receive(
        &self,
        audience: &Audience,
        part: usize,
        priority: Priority,
        placement: Option<Placement>,
        text: Bytes,
    ) {
        match (placement, audience) {
            (Some(placement), Audience::Channel(channel)) if *channel == placement.channel => {
                self.in_order(placement, priority, text);
            }
            (placement, audience) => {
                let Members::Union(groups) = audience.members() else { return };
                let queued = Queued { text: text.into(), placement: placement.map(Arc::new) };
                let mut wave = Wave::new(self);
                self.shared.index.for_each_of(&groups, part, |handle| {
                    wave.hand_over(handle, priority, queued.clone());
                });
            }
        }
    }

    /// Forgets the order of the channels whose readers here were this group, when nobody is left who reads them: what
    /// happens in them from now on is not heard, so what is known would be out of date when the next reader comes.
    pub fn forget_order(&self, group: &Group) {
        let unread = |channel: &Channel| self.groups_here(channel).is_empty();
        let only = match group {
            Group::Joined(channel) => channel.clone(),
            Group::User(tenant, user) => ChannelName::Conversation(user.clone()).within(tenant.clone()),
            Group::Tenant(tenant) => ChannelName::Everyone.within(tenant.clone()),
            Group::Role(..) => {
                self.shared.channels.retain(|channel, ordered| !unread(channel) || !ordered.lock().forget_if_idle());
                return;
            }
        };
        self.shared.channels.remove_if(&only, |channel, ordered| unread(channel) && ordered.lock().forget_if_idle());
    }

    /// Whether a message of a channel concerns nobody here. Alone, a process follows every channel; among others it hears
    /// only of those with readers, so that any other order would have holes that nobody needs filled.
    pub(super) fn concerns_nobody(&self, channel: &Channel) -> bool {
        if self.neighbours().is_none() || !self.groups_here(channel).is_empty() {
            return false;
        }
        // A hold comes before its reader is in the index.
        self.shared.channels.remove_if(channel, |_, ordered| ordered.lock().forget_if_idle());
        !self.shared.channels.contains_key(channel)
    }
}
