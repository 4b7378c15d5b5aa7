//! Audiences as ranges of keys that one query can read.
//!
//! Invariant: the selections of an audience are disjoint, so that their counts add up and nobody is met twice; and within
//! each, connections come in the order of their ids.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use handlers::audience::Audience;
use handlers::channel::{Channel, ChannelName};
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::Role;
use handlers::ports::Timestamp;

use super::record::{CONNECTED_AT, USER, channel_prefix, membership_partition, split_membership};
use crate::dynamo::{AttributeMap, AttributeReader, DynamoError, number_value, text_value};
use crate::tables::{BY_ROLE, BY_USER, ID, PARTITION_KEY, ROLE_ID, SORT_KEY, TENANT, USER_KEY};

/// Behind every character that an id may have.
const AFTER_EVERY_ID: char = '\u{7f}';
const ALL_ROLES: [Role; 3] = [Role::User, Role::Admin, Role::Service];

/// One range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyRange {
    /// The connections of a user.
    User(TenantId, UserId),
    /// The connections of a role, without those of one user.
    Role(TenantId, Role, Option<UserId>),
    /// The connections that joined a room or topic.
    Joined(Channel),
}

/// The ranges that make up an audience; one connection is none, it is read by its key.
pub(crate) fn key_ranges(audience: &Audience) -> Vec<KeyRange> {
    match audience {
        Audience::Connection(_) => Vec::new(),
        Audience::User(tenant, user) => vec![KeyRange::User(tenant.clone(), user.clone())],
        Audience::Role(tenant, role) => vec![KeyRange::Role(tenant.clone(), *role, None)],
        Audience::Channel(channel) => channel_ranges(channel),
    }
}

fn channel_ranges(channel: &Channel) -> Vec<KeyRange> {
    let tenant = &channel.tenant;
    match &channel.name {
        ChannelName::Conversation(user) => vec![
            KeyRange::User(tenant.clone(), user.clone()),
            KeyRange::Role(tenant.clone(), Role::Admin, Some(user.clone())),
        ],
        ChannelName::Everyone => ALL_ROLES.map(|role| KeyRange::Role(tenant.clone(), role, None)).into(),
        ChannelName::Room(_) | ChannelName::Topic(_) => vec![KeyRange::Joined(channel.clone())],
    }
}

impl KeyRange {
    /// Whether what is found are records; a membership has only the connection's id.
    pub(super) const fn has_records(&self) -> bool {
        !matches!(self, Self::Joined(_))
    }

    /// Makes `query` read the living connections of this range behind `after`. Memberships are read consistently; indexes
    /// cannot be.
    pub(super) fn apply_to_query(
        &self,
        query: QueryFluentBuilder,
        after: Option<&ConnectionId>,
        expired_since: Timestamp,
    ) -> QueryFluentBuilder {
        let (partition_name, partition, sort_name, prefix) = match self {
            Self::User(tenant, user) => (USER_KEY, format!("{tenant}/{user}"), ID, String::new()),
            Self::Role(tenant, role, _) => (TENANT, tenant.to_string(), ROLE_ID, format!("{}#", role.as_str())),
            Self::Joined(channel) => {
                (PARTITION_KEY, membership_partition(&channel.tenant), SORT_KEY, channel_prefix(&channel.name))
            }
        };
        let query = match self {
            Self::User(..) => query.index_name(BY_USER),
            Self::Role(..) => query.index_name(BY_ROLE),
            Self::Joined(_) => query.consistent_read(true),
        };
        // A space is before every character of an id: `{id} ` is the first key behind `{id}`.
        let from = after.map_or_else(|| format!("{prefix} "), |after| format!("{prefix}{after} "));
        let query = query.key_condition_expression("#partition = :partition AND #sort BETWEEN :from AND :to");
        let query = query.expression_attribute_names("#partition", partition_name);
        let query = query.expression_attribute_names("#sort", sort_name);
        let query = query.expression_attribute_values(":partition", text_value(partition));
        let query = query.expression_attribute_values(":from", text_value(from));
        let query = query.expression_attribute_values(":to", text_value(format!("{prefix}{AFTER_EVERY_ID}")));
        let query = query.expression_attribute_names("#at", CONNECTED_AT);
        let query = query.expression_attribute_values(":expired", number_value(expired_since));
        match self {
            Self::Role(_, _, Some(user)) => query
                .filter_expression("#at > :expired AND #user <> :user")
                .expression_attribute_names("#user", USER)
                .expression_attribute_values(":user", text_value(user.as_str())),
            _ => query.filter_expression("#at > :expired"),
        }
    }

    /// The connection that an item of this range is about.
    pub(super) fn connection_id(&self, table: &str, item: &AttributeMap) -> Result<ConnectionId, DynamoError> {
        let reader = AttributeReader { table, item };
        match self {
            Self::User(..) | Self::Role(..) => reader.parse_text(ID, ConnectionId::parse),
            Self::Joined(_) => reader.parse_text(SORT_KEY, |sort| split_membership(sort).map(|(_, id)| id).ok_or(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_behind_every_id_and_start_behind_the_one_named() {
        let key = |id: &str| format!("admin#{id}");
        for id in ["!", "abc", "~~~"] {
            assert!(key(id) < format!("admin#{AFTER_EVERY_ID}"));
            assert!(key(id) > key(" "), "the first page starts before every id");
        }
        assert!(key("abc ") > key("abc") && key("abc ") < key("abc!"), "the next page starts right behind the last id");
    }

    #[test]
    fn no_audience_counts_anybody_twice() {
        let tenant = TenantId::default_tenant();
        let alice = UserId::parse("alice").unwrap();
        let conversation = Audience::Channel(ChannelName::Conversation(alice.clone()).in_tenant(tenant.clone()));
        let expected =
            [KeyRange::User(tenant.clone(), alice.clone()), KeyRange::Role(tenant.clone(), Role::Admin, Some(alice))];
        assert_eq!(key_ranges(&conversation), expected);
        let everyone = Audience::Channel(ChannelName::Everyone.in_tenant(tenant));
        assert_eq!(key_ranges(&everyone).len(), ALL_ROLES.len());
    }
}
