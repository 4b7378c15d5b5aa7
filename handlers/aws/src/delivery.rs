//! Delivery through `@connections`: an audience is resolved page by page and posted to, some connections at a time.
//!
//! Invariant: one receiver never holds up another for longer than its own post may take, and the whole never takes longer
//! than [`Limits::whole`]. A connection that the gateway answers 410 for is taken out of the store's listings, unless it may be
//! about to open; its record is left to its `$disconnect`. Holds and marks have no place here: every message is posted to whoever the store
//! lists, and clients order by offset (`docs/adr/0004-channel-order.md`).

mod post;
mod report;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_apigatewaymanagement::Client;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use futures_util::StreamExt;
use futures_util::stream;
use handlers::audience::Audience;
use handlers::channel::{Channel, Position};
use handlers::frame::{ErrorCode, Refusal};
use handlers::id::ConnectionId;
use handlers::ports::{CloseReason, Delivered, Delivery, DeliveryError, Outgoing, Released, StoreError};
use tokio::time::Instant;

use self::post::{Fate, PostFailed};
use self::report::Report;
use crate::connections::{DynamoConnections, Purged, Selection, selections};

/// The adapter's name in errors.
const ADAPTER: &str = "@connections";

/// How a broadcast is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most posts under way at a time: a function has few cores and one connection pool.
    pub parallel: usize,
    /// How long one post may take, its retries included.
    pub post: Duration,
    /// How long one delivery may take. What it has not reached by then is told in its report.
    pub whole: Duration,
}

impl Limits {
    /// For functions behind API Gateway, whose integrations end after 29 seconds: a delivery leaves time for the answer.
    pub const FUNCTION: Self = Self { parallel: 64, post: Duration::from_secs(5), whole: Duration::from_secs(20) };
}

/// Delivery to the connections of a [`DynamoConnections`].
pub struct PostToConnections {
    client: Client,
    store: Arc<DynamoConnections>,
    limits: Limits,
}

impl PostToConnections {
    /// Delivery through the `@connections` API that `client` is configured for.
    #[must_use]
    pub const fn new(client: Client, store: Arc<DynamoConnections>, limits: Limits) -> Self {
        Self { client, store, limits }
    }

    async fn broadcast(&self, audience: &Audience, frame: &Blob) -> Result<Delivered, DeliveryError> {
        let deadline = Instant::now() + self.limits.whole;
        let mut report = Report::default();
        for selection in selections(audience) {
            self.post_to_all(&selection, frame, deadline, &mut report).await?;
        }
        report.finish()
    }

    async fn post_to_all(
        &self,
        selection: &Selection,
        frame: &Blob,
        deadline: Instant,
        report: &mut Report,
    ) -> Result<(), DeliveryError> {
        let mut start = None;
        loop {
            let page = match self.store.ids(selection, start).await {
                Ok(page) => page,
                // What was posted so far is told; nobody repeats a delivery.
                Err(error) if report.has_any() => {
                    report.unresolved(error);
                    return Ok(());
                }
                Err(error) => return Err(unresolved(error)),
            };
            let posts = page.ids.into_iter().map(|id| self.post_in_time(id, frame, Some(selection), deadline));
            let mut fates = stream::iter(posts).buffer_unordered(self.limits.parallel);
            while let Some(fate) = fates.next().await {
                report.count(fate);
            }
            match page.next {
                Some(_) if Instant::now() >= deadline => {
                    report.cut_off();
                    return Ok(());
                }
                Some(next) => start = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn post_in_time(
        &self,
        id: ConnectionId,
        frame: &Blob,
        found_in: Option<&Selection>,
        deadline: Instant,
    ) -> Fate {
        let by_then = deadline.min(Instant::now() + self.limits.post);
        let post = Box::pin(post::post(&self.client, &id, frame.clone()));
        let fate = tokio::time::timeout_at(by_then, post).await.unwrap_or(Fate::Failed(PostFailed::Late));
        if matches!(fate, Fate::Gone) {
            Box::pin(self.purge(&id, found_in)).await;
        }
        fate
    }

    /// Takes a connection that is gone out of the listings.
    async fn purge(&self, id: &ConnectionId, found_in: Option<&Selection>) {
        let channel = match found_in {
            Some(Selection::Joined(channel)) => Some(channel),
            _ => None,
        };
        match self.store.purge(id, channel).await {
            Ok(Purged::Unlisted) => {
                tracing::debug!(connection.id = %id, "a connection that is gone is listed no longer")
            }
            Ok(Purged::Kept) => tracing::debug!(connection.id = %id, "a connection is not open yet, or just went"),
            Err(error) => {
                tracing::warn!(connection.id = %id, error = %errors::chain(&error), "a connection that is gone is still listed");
            }
        }
    }

    /// One post; for an audience of one, whose fate is the answer.
    async fn post_to_one(&self, id: &ConnectionId, frame: Blob) -> Result<Delivered, DeliveryError> {
        let deadline = Instant::now() + self.limits.whole;
        match self.post_in_time(id.clone(), &frame, None, deadline).await {
            Fate::Sent => Ok(Delivered::To(Some(1))),
            Fate::Gone => Ok(Delivered::Gone),
            Fate::Failed(failure) => Err(failure.into()),
        }
    }
}

fn unresolved(error: StoreError) -> DeliveryError {
    match error {
        StoreError::Unavailable(source) => DeliveryError::Unavailable(source),
        error => DeliveryError::Backend { adapter: ADAPTER, source: Box::new(error) },
    }
}

#[async_trait]
impl Delivery for PostToConnections {
    async fn deliver(&self, audience: &Audience, outgoing: Outgoing) -> Result<Delivered, DeliveryError> {
        let frame = Blob::new(outgoing.frame);
        match audience {
            Audience::Connection(id) => self.post_to_one(id, frame).await,
            audience => self.broadcast(audience, &frame).await,
        }
    }

    async fn hold(&self, _: &ConnectionId, _: &[Channel]) -> Result<Delivered, DeliveryError> {
        Ok(Delivered::To(None))
    }

    async fn release(&self, _: &ConnectionId, _: &Channel, _: &Position) -> Result<Released, DeliveryError> {
        Ok(Released::Live)
    }

    async fn detach(&self, _: &ConnectionId, _: &[Channel]) -> Result<Delivered, DeliveryError> {
        Ok(Delivered::To(None))
    }

    /// API Gateway closes with 1000 whatever the reason, so an expired token is told in a frame before
    /// (`docs/PROTOCOL.md`, Close codes).
    async fn close(&self, connection: &ConnectionId, reason: CloseReason) -> Result<Delivered, DeliveryError> {
        if reason == CloseReason::TokenExpired {
            let text = "the token has run out: get a new one and connect again";
            let frame = Refusal::new(ErrorCode::TokenExpired, text).text(None);
            if self.post_to_one(connection, Blob::new(frame)).await? == Delivered::Gone {
                return Ok(Delivered::Gone);
            }
        }
        let deletion = Box::pin(post::delete(&self.client, connection));
        match tokio::time::timeout(self.limits.post, deletion).await.unwrap_or(Fate::Failed(PostFailed::Late)) {
            Fate::Sent => Ok(Delivered::To(Some(1))),
            Fate::Gone => {
                self.purge(connection, None).await;
                Ok(Delivered::Gone)
            }
            Fate::Failed(failure) => Err(failure.into()),
        }
    }
}
