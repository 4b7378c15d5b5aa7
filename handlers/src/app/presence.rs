//! Presence notifications: `online` and `offline` frames to admins and rooms.
//!
//! A notification is ephemeral and not logged. It is sent when the first connection of a user opens or joins a room,
//! and when the last one closes or leaves. A failure to send it never fails the event; the `presence` action returns
//! the exact state.

use tracing::warn;

use super::MessagingApp;
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName};
use crate::frame::{EncodeFrame, PresenceFrame, PresenceState};
use crate::id::ConnectionId;
use crate::identity::{Identity, Role};
use crate::ports::{OutgoingFrame, Priority};

/// Maximum connections of one user that are checked for rooms. A user with more connections counts as present in every
/// room.
const MAX_CHECKED_CONNECTIONS: usize = 100;
/// Page size that suffices to find a second connection of a user.
const EXISTENCE_CHECK_LIMIT: usize = 2;

impl MessagingApp {
    /// Notifies admins that a user is online if `connection` is the user's first.
    pub(crate) async fn notify_online(&self, connection: &ConnectionId, identity: &Identity) {
        if self.may_notify_admins(identity)
            && let Some(others) = self.other_connections(connection, identity, &[]).await
        {
            self.notify_admins(identity, &others, PresenceState::Online).await;
        }
    }

    /// Notifies admins and the rooms among `channels` that a user is offline, where `connection` was the user's last.
    /// Reads the store once for both.
    pub(crate) async fn notify_offline(&self, connection: &ConnectionId, identity: &Identity, channels: &[Channel]) {
        let rooms = filter_rooms(channels);
        if (self.may_notify_admins(identity) || !rooms.is_empty())
            && let Some(others) = self.other_connections(connection, identity, &rooms).await
        {
            self.notify_rooms(&rooms, identity, &others, PresenceState::Offline).await;
            self.notify_admins(identity, &others, PresenceState::Offline).await;
        }
    }

    /// Notifies the rooms among `channels` of a change of presence, except rooms that another connection of the user
    /// has joined.
    pub(crate) async fn notify_joined_rooms(
        &self,
        connection: &ConnectionId,
        identity: &Identity,
        channels: &[Channel],
        state: PresenceState,
    ) {
        let rooms = filter_rooms(channels);
        if !rooms.is_empty()
            && let Some(others) = self.other_connections(connection, identity, &rooms).await
        {
            self.notify_rooms(&rooms, identity, &others, state).await;
        }
    }

    fn may_notify_admins(&self, identity: &Identity) -> bool {
        identity.role == Role::User && self.delivery.may_reach(&Audience::Role(identity.tenant.clone(), Role::Admin))
    }

    async fn notify_admins(&self, identity: &Identity, others: &OtherConnections, state: PresenceState) {
        if identity.role == Role::User && !others.connected {
            let conversation = ChannelName::Conversation(identity.user.clone()).in_tenant(identity.tenant.clone());
            let admins = Audience::Role(identity.tenant.clone(), Role::Admin);
            self.publish_presence(&admins, &conversation, identity, state).await;
        }
    }

    async fn notify_rooms(
        &self,
        rooms: &[&Channel],
        identity: &Identity,
        others: &OtherConnections,
        state: PresenceState,
    ) {
        for (room, occupied) in rooms.iter().zip(&others.rooms) {
            if !occupied {
                self.publish_presence(&Audience::Channel((*room).clone()), room, identity, state).await;
            }
        }
    }

    /// Returns the user's connections other than `connection`, and which of `rooms` they joined, or `None` if the store
    /// fails.
    async fn other_connections(
        &self,
        connection: &ConnectionId,
        identity: &Identity,
        rooms: &[&Channel],
    ) -> Option<OtherConnections> {
        let user = Audience::User(identity.tenant.clone(), identity.user.clone());
        let limit = if rooms.is_empty() { EXISTENCE_CHECK_LIMIT } else { MAX_CHECKED_CONNECTIONS };
        let page = match self.connections.list_members(&user, None, limit).await {
            Ok(page) => page,
            Err(error) => {
                warn!(connection.id = %connection, error = %errors::chain(&error), "presence lookup failed");
                return None;
            }
        };
        let others = || page.items.iter().filter(|other| other.id != *connection);
        let more_pages = page.next.is_some();
        Some(OtherConnections {
            connected: more_pages || others().next().is_some(),
            rooms: rooms
                .iter()
                .map(|room| more_pages || others().any(|other| other.channels.contains(*room)))
                .collect(),
        })
    }

    async fn publish_presence(
        &self,
        audience: &Audience,
        channel: &Channel,
        identity: &Identity,
        state: PresenceState,
    ) {
        let presence =
            PresenceFrame { channel: &channel.name, user: identity.user.as_str(), role: identity.role, state };
        let outgoing = OutgoingFrame { frame: presence.encode(), priority: Priority::Ephemeral, placement: None };
        if let Err(error) = self.delivery.deliver(audience, outgoing).await {
            warn!(error = %errors::chain(&error), "presence notification failed");
        }
    }
}

fn filter_rooms(channels: &[Channel]) -> Vec<&Channel> {
    channels.iter().filter(|channel| matches!(channel.name, ChannelName::Room(_))).collect()
}

/// Presence of a user apart from one connection.
struct OtherConnections {
    /// Whether the user has another connection.
    connected: bool,
    /// For each room of the query, whether another connection of the user has joined it.
    rooms: Vec<bool>,
}
