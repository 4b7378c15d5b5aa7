//! What a hub asks and tells of the other pods, where there are any.
//!
//! Invariant: without neighbours (the embedded mode) nothing here costs more than the look at an empty cell.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use handlers::audience::{Audience, Group, ResolvedAudience};
use handlers::channel::{Channel, ChannelName};
use handlers::ports::{Placement, Priority};

use super::ChannelDelivery;
use super::fan_out::FanOut;
use crate::connection::OutboundFrame;

/// The other pods.
pub trait PeerRouter: Send + Sync {
    /// A group is about to get its first member here, or to lose its last one. Called in the middle of the change: it must
    /// not wait and must not ask the hub.
    fn membership_changed(&self, group: &Group);

    /// Resolves, after a bounded time in any case, when what others send to these groups reaches this process; `None` when
    /// it does already.
    fn wait_subscribed(&self, groups: Vec<Group>) -> Option<BoxFuture<'static, ()>>;
}

impl ChannelDelivery {
    /// Makes this hub one of several. Once, before it has connections.
    pub fn attach_peers(&self, neighbours: Arc<dyn PeerRouter>) {
        self.shared.connection_groups.set_peer_router(neighbours);
    }

    /// The other pods, where there are any.
    pub fn peer_router(&self) -> Option<&Arc<dyn PeerRouter>> {
        self.shared.connection_groups.peer_router()
    }

    /// Whether a group has members here.
    pub fn has_members(&self, group: &Group) -> bool {
        self.shared.connection_groups.has_members(group)
    }

    /// The groups of a channel's readers that have members here.
    pub fn local_groups(&self, channel: &Channel) -> Vec<Group> {
        match Audience::Channel(channel.clone()).resolve() {
            ResolvedAudience::Groups(groups) => groups.into_iter().filter(|group| self.has_members(group)).collect(),
            ResolvedAudience::Connection(_) => Vec::new(),
        }
    }

    /// Takes in what another pod published for group number `part` of an audience.
    pub fn receive_from_peer(
        &self,
        audience: &Audience,
        part: usize,
        priority: Priority,
        placement: Option<Placement>,
        text: Bytes,
    ) {
        match (placement, audience) {
            (Some(placement), Audience::Channel(channel)) if *channel == placement.channel => {
                self.deliver_in_order(placement, priority, text);
            }
            (placement, audience) => {
                let ResolvedAudience::Groups(groups) = audience.resolve() else { return };
                let queued = OutboundFrame { text: text.into(), placement: placement.map(Arc::new) };
                let mut wave = FanOut::new(self);
                self.shared.connection_groups.for_each_in_group(&groups, part, |handle| {
                    wave.send_to(handle, priority, queued.clone());
                });
            }
        }
    }

    /// Forgets the order of the channels whose readers here were this group, when nobody is left who reads them: what
    /// happens in them from now on is not heard, so what is known would be out of date when the next reader comes.
    pub fn evict_unread_channels(&self, group: &Group) {
        let unread = |channel: &Channel| self.local_groups(channel).is_empty();
        let only = match group {
            Group::Joined(channel) => channel.clone(),
            Group::User(tenant, user) => ChannelName::Conversation(user.clone()).in_tenant(tenant.clone()),
            Group::Tenant(tenant) => ChannelName::Everyone.in_tenant(tenant.clone()),
            Group::Role(..) => {
                self.shared.channels.retain(|channel, ordered| !unread(channel) || !ordered.lock().evict_if_idle());
                return;
            }
        };
        self.shared.channels.remove_if(&only, |channel, ordered| unread(channel) && ordered.lock().evict_if_idle());
    }

    /// Whether a message of a channel concerns nobody here. Alone, a process follows every channel; among others it hears
    /// only of those with readers, so that any other order would have holes that nobody needs filled.
    pub(super) fn has_no_local_audience(&self, channel: &Channel) -> bool {
        if self.peer_router().is_none() || !self.local_groups(channel).is_empty() {
            return false;
        }
        // A hold comes before its reader is in the index.
        self.shared.channels.remove_if(channel, |_, ordered| ordered.lock().evict_if_idle());
        !self.shared.channels.contains_key(channel)
    }
}
