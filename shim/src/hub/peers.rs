//! Port to the other pods, and delivery of the frames that they publish.
//!
//! In a single process (embedded mode) no router is attached, and every check costs one read of an empty cell.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use handlers::audience::{Audience, Group, ResolvedAudience};
use handlers::channel::{Channel, ChannelName};
use handlers::ports::{Placement, Priority};

use super::ChannelDelivery;
use super::fan_out::FanOut;
use crate::connection::OutboundFrame;

/// Port to the other pods: keeps this pod subscribed to the groups that have local members.
///
/// ```
/// use std::sync::Mutex;
///
/// use futures_util::future::BoxFuture;
/// use handlers::audience::Group;
/// use shim::hub::PeerRouter;
///
/// /// Records the groups whose subscription may have to change.
/// #[derive(Default)]
/// struct ChangedGroups(Mutex<Vec<Group>>);
///
/// impl PeerRouter for ChangedGroups {
///     fn membership_changed(&self, group: &Group) {
///         self.0.lock().unwrap().push(group.clone());
///     }
///
///     fn wait_subscribed(&self, _: Vec<Group>) -> Option<BoxFuture<'static, ()>> {
///         None // every group is already subscribed
///     }
/// }
/// ```
pub trait PeerRouter: Send + Sync {
    /// Called when a group gets its first local member or loses its last one. The caller holds a lock of the group
    /// index: implementations must neither block nor call back into the hub.
    fn membership_changed(&self, group: &Group);

    /// Returns a future that resolves once this pod's subscriptions cover `groups`, or `None` if they already do. The
    /// future resolves within a bounded time, also if the subscription is not confirmed.
    fn wait_subscribed(&self, groups: Vec<Group>) -> Option<BoxFuture<'static, ()>>;
}

impl ChannelDelivery {
    /// Attaches the router to the other pods. Must be called once, before the hub has connections.
    pub fn attach_peers(&self, peer_router: Arc<dyn PeerRouter>) {
        self.shared.connection_groups.set_peer_router(peer_router);
    }

    /// Returns the router to the other pods, or `None` in a single process.
    pub fn peer_router(&self) -> Option<&Arc<dyn PeerRouter>> {
        self.shared.connection_groups.peer_router()
    }

    /// Returns whether the group has local members.
    pub fn has_members(&self, group: &Group) -> bool {
        self.shared.connection_groups.has_members(group)
    }

    /// Returns the groups of a channel's readers that have local members.
    pub fn local_groups(&self, channel: &Channel) -> Vec<Group> {
        match Audience::Channel(channel.clone()).resolve() {
            ResolvedAudience::Groups(groups) => groups.into_iter().filter(|group| self.has_members(group)).collect(),
            ResolvedAudience::Connection(_) => Vec::new(),
        }
    }

    /// Delivers a frame that another pod published for the group at `group_index` of the audience.
    pub fn receive_from_peer(
        &self,
        audience: &Audience,
        group_index: usize,
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
                let frame = OutboundFrame { text: text.into(), placement: placement.map(Arc::new) };
                let mut fan_out = FanOut::new(self);
                self.shared.connection_groups.for_each_in_group(&groups, group_index, |connection| {
                    fan_out.send_to(connection, priority, frame.clone());
                });
            }
        }
    }

    /// Evicts the order of the channels that `group` read, unless they have other local readers. Called when this pod
    /// unsubscribes from the group: later messages no longer arrive, so the retained order would be stale for the next
    /// reader.
    pub fn evict_unread_channels(&self, group: &Group) {
        let unread = |channel: &Channel| self.local_groups(channel).is_empty();
        let channel = match group {
            Group::Joined(channel) => channel.clone(),
            Group::User(tenant, user) => ChannelName::Conversation(user.clone()).in_tenant(tenant.clone()),
            Group::Tenant(tenant) => ChannelName::Everyone.in_tenant(tenant.clone()),
            Group::Role(..) => {
                self.shared.channels.retain(|channel, tracked| !unread(channel) || !tracked.lock().evict_if_idle());
                return;
            }
        };
        self.shared.channels.remove_if(&channel, |channel, tracked| unread(channel) && tracked.lock().evict_if_idle());
    }

    /// Returns whether a message of the channel can be dropped because it has no local reader. A single process tracks
    /// every channel. A pod of a cluster receives only the messages of channels with local readers, so the order of any
    /// other channel would have missing ranges that no reader needs.
    pub(super) fn has_no_local_audience(&self, channel: &Channel) -> bool {
        if self.peer_router().is_none() || !self.local_groups(channel).is_empty() {
            return false;
        }
        // A paused reader is not in the index yet, so the order is kept while it has one.
        self.shared.channels.remove_if(channel, |_, tracked| tracked.lock().evict_if_idle());
        !self.shared.channels.contains_key(channel)
    }
}
