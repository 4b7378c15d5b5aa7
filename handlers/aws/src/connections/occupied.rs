//! Listing of a tenant's rooms and topics that have members.
//!
//! The listing reads every membership of the tenant: counters would include expired members, and the response contains
//! the total. A membership has about 100 bytes, so one DynamoDB page (1 MiB) holds about 10,000; only backends call
//! this.

use handlers::channel::ChannelName;
use handlers::id::TenantId;
use handlers::ports::{OccupiedChannel, Page};

use super::DynamoConnections;
use super::record::{CONNECTED_AT, membership_partition, split_membership};
use crate::dynamo::{AttributeReader, DynamoError, classify_sdk_error, number_value, text_value};
use crate::tables::{PARTITION_KEY, SORT_KEY};

/// Accumulator of a listing; memberships arrive ordered by channel name.
struct OccupiedListing<'a> {
    after: Option<&'a ChannelName>,
    limit: usize,
    last: Option<ChannelName>,
    page: Page<OccupiedChannel>,
}

impl OccupiedListing<'_> {
    fn add_membership(&mut self, name: ChannelName) {
        if self.last.as_ref() == Some(&name) {
            if let Some(shown) = self.page.items.last_mut().filter(|shown| shown.name == name) {
                shown.connections += 1;
            }
            return;
        }
        self.page.total += 1;
        self.last = Some(name.clone());
        if self.after.is_some_and(|after| name <= *after) {
            return;
        }
        if self.page.items.len() < self.limit {
            self.page.items.push(OccupiedChannel { name, connections: 1 });
        } else if self.page.next.is_none() {
            self.page.next = self.page.items.last().map(|shown| shown.name.to_string());
        }
    }
}

impl DynamoConnections {
    pub(super) async fn list_occupied(
        &self,
        tenant: &TenantId,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, DynamoError> {
        let page = Page { items: Vec::new(), next: None, total: 0 };
        let mut listing = OccupiedListing { after, limit, last: None, page };
        let mut start = None;
        loop {
            let query = self.client.query().table_name(&self.table).set_exclusive_start_key(start);
            let query = query.key_condition_expression("#partition = :partition").filter_expression("#at > :expired");
            let query = query
                .expression_attribute_names("#partition", PARTITION_KEY)
                .expression_attribute_names("#at", CONNECTED_AT);
            let query = query.expression_attribute_values(":partition", text_value(membership_partition(tenant)));
            let query = query.expression_attribute_values(":expired", number_value(self.expiry_cutoff()));
            let query = query.projection_expression("#sort").expression_attribute_names("#sort", SORT_KEY);
            let output = query.send().await.map_err(|error| classify_sdk_error("Query", &self.table, error))?;
            for item in output.items() {
                let reader = AttributeReader { table: &self.table, item };
                listing.add_membership(
                    reader.parse_text(SORT_KEY, |sort| split_membership(sort).map(|(name, _)| name).ok_or(()))?,
                );
            }
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(listing.page);
            }
        }
    }
}
