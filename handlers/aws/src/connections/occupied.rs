//! Which rooms and topics of a tenant have members.
//!
//! Every membership of the tenant is read, because counters would count those that expired, and the total is part of the
//! answer. Memberships are short (about 100 bytes), so 10,000 of them are one page of DynamoDB; only backends ask.

use handlers::channel::ChannelName;
use handlers::id::TenantId;
use handlers::ports::{OccupiedChannel, Page};

use super::DynamoConnections;
use super::record::{AT, memberships, split_membership};
use crate::dynamo::{DynamoError, Reader, failed, number, text};
use crate::tables::{PARTITION, SORT};

/// A listing under way: names come in their order.
struct Listing<'a> {
    after: Option<&'a ChannelName>,
    limit: usize,
    last: Option<ChannelName>,
    page: Page<OccupiedChannel>,
}

impl Listing<'_> {
    fn meet(&mut self, name: ChannelName) {
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
    pub(super) async fn occupied(
        &self,
        tenant: &TenantId,
        after: Option<&ChannelName>,
        limit: usize,
    ) -> Result<Page<OccupiedChannel>, DynamoError> {
        let page = Page { items: Vec::new(), next: None, total: 0 };
        let mut listing = Listing { after, limit, last: None, page };
        let mut start = None;
        loop {
            let query = self.client.query().table_name(&self.table).set_exclusive_start_key(start);
            let query = query.key_condition_expression("#partition = :partition").filter_expression("#at > :expired");
            let query = query.expression_attribute_names("#partition", PARTITION).expression_attribute_names("#at", AT);
            let query = query.expression_attribute_values(":partition", text(memberships(tenant)));
            let query = query.expression_attribute_values(":expired", number(self.expired_since()));
            let query = query.projection_expression("#sort").expression_attribute_names("#sort", SORT);
            let answer = query.send().await.map_err(|error| failed("Query", &self.table, error))?;
            for item in answer.items() {
                let reader = Reader { table: &self.table, item };
                listing.meet(reader.parsed(SORT, |sort| split_membership(sort).map(|(name, _)| name).ok_or(()))?);
            }
            start = answer.last_evaluated_key;
            if start.is_none() {
                return Ok(listing.page);
            }
        }
    }
}
