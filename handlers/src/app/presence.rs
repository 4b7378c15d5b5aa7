//! Telling others who came and who left.
//!
//! Presence is a hint, ephemeral and unlogged: it is sent when a user's first connection enters and when the last one
//! leaves, and a failure to send it never fails the event. The exact answer is what the `presence` action gives.

use tracing::warn;

use super::MessagingApp;
use crate::audience::Audience;
use crate::channel::{Channel, ChannelName};
use crate::frame::{EncodeFrame, PresenceFrame, PresenceState};
use crate::id::ConnectionId;
use crate::identity::{Identity, Role};
use crate::ports::{OutgoingFrame, Priority};

/// How many connections of one user are looked at for rooms. A user with more is taken to be in every room still.
const MAX_CHECKED_CONNECTIONS: usize = 100;
/// Two connections of a user answer whether there is one beside this one.
const EXISTENCE_CHECK_LIMIT: usize = 2;

impl MessagingApp {
    /// Tells admins that a user came, when `connection` is the first one.
    pub(crate) async fn notify_online(&self, connection: &ConnectionId, identity: &Identity) {
        if self.may_notify_admins(identity)
            && let Some(others) = self.other_connections(connection, identity, &[]).await
        {
            self.notify_admins(identity, &others, PresenceState::Online).await;
        }
    }

    /// Tells the rooms among `channels`, and admins, that a user left, where `connection` was the last one. Looks once for
    /// both.
    pub(crate) async fn notify_offline(&self, connection: &ConnectionId, identity: &Identity, channels: &[Channel]) {
        let rooms = filter_rooms(channels);
        if (self.may_notify_admins(identity) || !rooms.is_empty())
            && let Some(others) = self.other_connections(connection, identity, &rooms).await
        {
            self.notify_rooms(&rooms, identity, &others, PresenceState::Offline).await;
            self.notify_admins(identity, &others, PresenceState::Offline).await;
        }
    }

    /// Tells rooms that a user came or left, those of them where no other connection of the user is.
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

    /// Whether the user has other connections, and in which of `rooms`; `None` when the store does not say.
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
                warn!(connection.id = %connection, error = %errors::chain(&error), "presence is not told");
                return None;
            }
        };
        let others = || page.items.iter().filter(|other| other.id != *connection);
        let unseen = page.next.is_some();
        Some(OtherConnections {
            connected: unseen || others().next().is_some(),
            rooms: rooms.iter().map(|room| unseen || others().any(|other| other.channels.contains(*room))).collect(),
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
            warn!(error = %errors::chain(&error), "presence is not told");
        }
    }
}

fn filter_rooms(channels: &[Channel]) -> Vec<&Channel> {
    channels.iter().filter(|channel| matches!(channel.name, ChannelName::Room(_))).collect()
}

/// Where else a user is, beside one connection.
struct OtherConnections {
    connected: bool,
    rooms: Vec<bool>,
}
