//! Delivery through `@connections`: an audience is resolved page by page and posted to, some connections at a time.
//!
//! Invariant: one receiver never holds up another for longer than its own post may take, and the whole never takes longer
//! than [`DeliveryLimits::delivery_timeout`]. A connection that the gateway answers 410 for is taken out of the store's listings, unless it may be
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
use handlers::frame::{ClientError, ErrorCode};
use handlers::id::ConnectionId;
use handlers::ports::{
    CloseReason, Delivery, DeliveryError, DeliveryOutcome, OutgoingFrame, ResumeOutcome, StoreError,
};
use tokio::time::Instant;

use self::post::{PostError, PostOutcome};
use self::report::FanOutReport;
use crate::connections::{DynamoConnections, KeyRange, PurgeOutcome, key_ranges};

/// The adapter's name in errors.
const ADAPTER: &str = "@connections";

/// How a broadcast is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryLimits {
    /// Most posts under way at a time: a function has few cores and one connection pool.
    pub max_parallel_posts: usize,
    /// How long one post may take, its retries included.
    pub post_timeout: Duration,
    /// How long one delivery may take. What it has not reached by then is told in its report.
    pub delivery_timeout: Duration,
}

impl DeliveryLimits {
    /// For functions behind API Gateway, whose integrations end after 29 seconds: a delivery leaves time for the answer.
    pub const FOR_LAMBDA: Self = Self {
        max_parallel_posts: 64,
        post_timeout: Duration::from_secs(5),
        delivery_timeout: Duration::from_secs(20),
    };
}

/// Delivery to the connections of a [`DynamoConnections`].
pub struct ApiGatewayDelivery {
    client: Client,
    store: Arc<DynamoConnections>,
    limits: DeliveryLimits,
}

impl ApiGatewayDelivery {
    /// Delivery through the `@connections` API that `client` is configured for.
    #[must_use]
    pub const fn new(client: Client, store: Arc<DynamoConnections>, limits: DeliveryLimits) -> Self {
        Self { client, store, limits }
    }

    async fn fan_out(&self, audience: &Audience, frame: &Blob) -> Result<DeliveryOutcome, DeliveryError> {
        let deadline = Instant::now() + self.limits.delivery_timeout;
        let mut report = FanOutReport::default();
        for selection in key_ranges(audience) {
            self.post_to_range(&selection, frame, deadline, &mut report).await?;
        }
        report.into_result()
    }

    async fn post_to_range(
        &self,
        selection: &KeyRange,
        frame: &Blob,
        deadline: Instant,
        report: &mut FanOutReport,
    ) -> Result<(), DeliveryError> {
        let mut start = None;
        loop {
            let page = match self.store.list_ids(selection, start).await {
                Ok(page) => page,
                // What was posted so far is told; nobody repeats a delivery.
                Err(error) if report.has_attempts() => {
                    report.record_store_error(error);
                    return Ok(());
                }
                Err(error) => return Err(resolution_error(error)),
            };
            let posts = page.ids.into_iter().map(|id| self.post_with_timeout(id, frame, Some(selection), deadline));
            let mut fates = stream::iter(posts).buffer_unordered(self.limits.max_parallel_posts);
            while let Some(fate) = fates.next().await {
                report.record_outcome(fate);
            }
            match page.next {
                Some(_) if Instant::now() >= deadline => {
                    report.record_deadline();
                    return Ok(());
                }
                Some(next) => start = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn post_with_timeout(
        &self,
        id: ConnectionId,
        frame: &Blob,
        found_in: Option<&KeyRange>,
        deadline: Instant,
    ) -> PostOutcome {
        let by_then = deadline.min(Instant::now() + self.limits.post_timeout);
        let post = Box::pin(post::post_frame(&self.client, &id, frame.clone()));
        let fate = tokio::time::timeout_at(by_then, post).await.unwrap_or(PostOutcome::Failed(PostError::Timeout));
        if matches!(fate, PostOutcome::Gone) {
            Box::pin(self.purge_gone(&id, found_in)).await;
        }
        fate
    }

    /// Takes a connection that is gone out of the listings.
    async fn purge_gone(&self, id: &ConnectionId, found_in: Option<&KeyRange>) {
        let channel = match found_in {
            Some(KeyRange::Joined(channel)) => Some(channel),
            _ => None,
        };
        match self.store.purge_stale(id, channel).await {
            Ok(PurgeOutcome::Unlisted) => {
                tracing::debug!(connection.id = %id, "a connection that is gone is listed no longer")
            }
            Ok(PurgeOutcome::HandshakePending) => {
                tracing::debug!(connection.id = %id, "a connection is not open yet, or just went")
            }
            Err(error) => {
                tracing::warn!(connection.id = %id, error = %errors::chain(&error), "a connection that is gone is still listed");
            }
        }
    }

    /// One post; for an audience of one, whose fate is the answer.
    async fn post_to_one(&self, id: &ConnectionId, frame: Blob) -> Result<DeliveryOutcome, DeliveryError> {
        let deadline = Instant::now() + self.limits.delivery_timeout;
        match self.post_with_timeout(id.clone(), &frame, None, deadline).await {
            PostOutcome::Sent => Ok(DeliveryOutcome::Delivered(Some(1))),
            PostOutcome::Gone => Ok(DeliveryOutcome::ConnectionGone),
            PostOutcome::Failed(failure) => Err(failure.into()),
        }
    }
}

fn resolution_error(error: StoreError) -> DeliveryError {
    match error {
        StoreError::Unavailable(source) => DeliveryError::Unavailable(source),
        error => DeliveryError::Backend { adapter: ADAPTER, source: Box::new(error) },
    }
}

#[async_trait]
impl Delivery for ApiGatewayDelivery {
    async fn deliver(&self, audience: &Audience, outgoing: OutgoingFrame) -> Result<DeliveryOutcome, DeliveryError> {
        let frame = Blob::new(outgoing.frame);
        match audience {
            Audience::Connection(id) => self.post_to_one(id, frame).await,
            audience => self.fan_out(audience, &frame).await,
        }
    }

    async fn pause_channels(&self, _: &ConnectionId, _: &[Channel]) -> Result<DeliveryOutcome, DeliveryError> {
        Ok(DeliveryOutcome::Delivered(None))
    }

    async fn resume_channel(
        &self,
        _: &ConnectionId,
        _: &Channel,
        _: &Position,
    ) -> Result<ResumeOutcome, DeliveryError> {
        Ok(ResumeOutcome::Live)
    }

    async fn detach_channels(&self, _: &ConnectionId, _: &[Channel]) -> Result<DeliveryOutcome, DeliveryError> {
        Ok(DeliveryOutcome::Delivered(None))
    }

    /// API Gateway closes with 1000 whatever the reason, so an expired token is told in a frame before
    /// (`docs/PROTOCOL.md`, Close codes).
    async fn close_connection(
        &self,
        connection: &ConnectionId,
        reason: CloseReason,
    ) -> Result<DeliveryOutcome, DeliveryError> {
        if reason == CloseReason::TokenExpired {
            let text = "the token has run out: get a new one and connect again";
            let frame = ClientError::new(ErrorCode::TokenExpired, text).encode_frame(None);
            if self.post_to_one(connection, Blob::new(frame)).await? == DeliveryOutcome::ConnectionGone {
                return Ok(DeliveryOutcome::ConnectionGone);
            }
        }
        let deletion = Box::pin(post::delete_connection(&self.client, connection));
        match tokio::time::timeout(self.limits.post_timeout, deletion)
            .await
            .unwrap_or(PostOutcome::Failed(PostError::Timeout))
        {
            PostOutcome::Sent => Ok(DeliveryOutcome::Delivered(Some(1))),
            PostOutcome::Gone => {
                self.purge_gone(connection, None).await;
                Ok(DeliveryOutcome::ConnectionGone)
            }
            PostOutcome::Failed(failure) => Err(failure.into()),
        }
    }
}
