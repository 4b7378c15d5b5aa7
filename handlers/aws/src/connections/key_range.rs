//! Key ranges of an audience: each can be read with one query.
//!
//! The ranges of an audience are disjoint, so their counts add up and no connection occurs twice. Within a range,
//! connections are ordered by id.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use handlers::audience::Audience;
use handlers::channel::{Channel, ChannelName};
use handlers::id::{ConnectionId, TenantId, UserId};
use handlers::identity::Role;
use handlers::ports::Timestamp;

use super::record::{CONNECTED_AT, USER, channel_prefix, membership_partition, split_membership};
use crate::dynamo::{AttributeMap, AttributeReader, DynamoError, number_value, text_value};
use crate::tables::{BY_ROLE, BY_USER, ID, PARTITION_KEY, ROLE_ID, SORT_KEY, TENANT, USER_KEY};

/// Sorts after every character of an id.
const AFTER_EVERY_ID: char = '\u{7f}';
const ALL_ROLES: [Role; 3] = [Role::User, Role::Admin, Role::Service];

/// One range of keys of the table or of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyRange {
    /// The connections of a user.
    User(TenantId, UserId),
    /// The connections of a role, except those of one user.
    Role(TenantId, Role, Option<UserId>),
    /// The connections that joined a room or topic.
    Joined(Channel),
}

/// Returns the ranges of an audience; none for a single connection, which is read by its key.
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
    /// Returns whether the items are records; a membership holds only the connection's id.
    pub(super) const fn has_records(&self) -> bool {
        !matches!(self, Self::Joined(_))
    }

    /// Restricts `query` to the unexpired connections of this range with ids greater than `after`. Memberships are read
    /// consistently; DynamoDB does not support consistent reads of global secondary indexes.
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
        // A space sorts before every character of an id, so `{id} ` is the first key after `{id}`.
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

    /// Returns the id of the connection that an item of this range belongs to.
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
    fn ranges_end_after_every_id_and_start_after_the_given_one() {
        let key = |id: &str| format!("admin#{id}");
        for id in ["!", "abc", "~~~"] {
            assert!(key(id) < format!("admin#{AFTER_EVERY_ID}"));
            assert!(key(id) > key(" "), "the first page starts before every id");
        }
        assert!(
            key("abc ") > key("abc") && key("abc ") < key("abc!"),
            "the next page starts directly after the last id"
        );
    }

    #[test]
    fn no_audience_counts_a_connection_twice() {
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
