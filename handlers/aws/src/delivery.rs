//! Delivery through the `@connections` API: resolves an audience page by page and posts to several connections in
//! parallel.
//!
//! - A slow client delays others by at most [`DeliveryLimits::post_timeout`]; a whole delivery takes at most
//!   [`DeliveryLimits::delivery_timeout`].
//! - A connection for which `@connections` answers 410 is removed from the store's listings, unless its handshake may
//!   still be in progress. Its record remains for its `$disconnect`.
//! - A connection whose token has expired is closed instead of posted to. API Gateway knows no expiry, and nothing else
//!   runs on AWS while a client only listens.
//! - Pausing and resuming channels has no effect here: every message is posted to all listed connections, and clients
//!   order messages by offset (`docs/adr/0004-channel-order.md`).

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
use crate::connections::{DynamoConnections, KeyRange, ListedId, PurgeOutcome, key_ranges};

/// Name of the adapter in errors.
const ADAPTER: &str = "@connections";

/// Limits of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryLimits {
    /// Maximum concurrent posts; a function has few cores and one connection pool.
    pub max_parallel_posts: usize,
    /// Timeout of one post, including retries.
    pub post_timeout: Duration,
    /// Timeout of one delivery. The log reports a delivery that did not reach its whole audience.
    pub delivery_timeout: Duration,
}

impl DeliveryLimits {
    /// Limits for functions: API Gateway ends an integration after 29 seconds, and the response needs time after a
    /// delivery.
    pub const FOR_LAMBDA: Self = Self {
        max_parallel_posts: 64,
        post_timeout: Duration::from_secs(5),
        delivery_timeout: Duration::from_secs(20),
    };
}

/// Delivery to the connections of a [`DynamoConnections`] store.
pub struct ApiGatewayDelivery {
    client: Client,
    store: Arc<DynamoConnections>,
    limits: DeliveryLimits,
}

impl ApiGatewayDelivery {
    /// Creates a delivery through the `@connections` API for which `client` is configured.
    #[must_use]
    pub const fn new(client: Client, store: Arc<DynamoConnections>, limits: DeliveryLimits) -> Self {
        Self { client, store, limits }
    }

    async fn fan_out(&self, audience: &Audience, frame: &Blob) -> Result<DeliveryOutcome, DeliveryError> {
        let deadline = Instant::now() + self.limits.delivery_timeout;
        let mut report = FanOutReport::default();
        for range in key_ranges(audience) {
            self.post_to_range(&range, frame, deadline, &mut report).await?;
        }
        report.into_result()
    }

    async fn post_to_range(
        &self,
        range: &KeyRange,
        frame: &Blob,
        deadline: Instant,
        report: &mut FanOutReport,
    ) -> Result<(), DeliveryError> {
        let mut start = None;
        loop {
            let page = match self.store.list_ids(range, start).await {
                Ok(page) => page,
                // A failure after the first posts is reported, not returned: the caller would not repeat the delivery.
                Err(error) if report.has_attempts() => {
                    report.record_store_error(error);
                    return Ok(());
                }
                Err(error) => return Err(resolution_error(error)),
            };
            let posts = page.ids.into_iter().map(|listed| self.post_or_close(listed, frame, range, deadline));
            let mut outcomes = stream::iter(posts).buffer_unordered(self.limits.max_parallel_posts);
            while let Some(outcome) = outcomes.next().await {
                report.record_outcome(outcome);
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

    /// Posts to a listed connection, or closes it if its token has expired.
    async fn post_or_close(&self, listed: ListedId, frame: &Blob, range: &KeyRange, deadline: Instant) -> PostOutcome {
        if !listed.token_expired {
            return self.post_with_timeout(listed.id, frame, Some(range), deadline).await;
        }
        if let Err(error) = Box::pin(self.close_connection(&listed.id, CloseReason::TokenExpired)).await {
            tracing::warn!(
                connection.id = %listed.id,
                error = %errors::chain(&error),
                "closing a connection with an expired token failed"
            );
        }
        PostOutcome::Gone
    }

    async fn post_with_timeout(
        &self,
        id: ConnectionId,
        frame: &Blob,
        found_in: Option<&KeyRange>,
        deadline: Instant,
    ) -> PostOutcome {
        let post_deadline = deadline.min(Instant::now() + self.limits.post_timeout);
        let post = Box::pin(post::post_frame(&self.client, &id, frame.clone()));
        let outcome =
            tokio::time::timeout_at(post_deadline, post).await.unwrap_or(PostOutcome::Failed(PostError::Timeout));
        if matches!(outcome, PostOutcome::Gone) {
            Box::pin(self.purge_gone(&id, found_in)).await;
        }
        outcome
    }

    /// Removes a gone connection from the listings.
    async fn purge_gone(&self, id: &ConnectionId, found_in: Option<&KeyRange>) {
        let channel = match found_in {
            Some(KeyRange::Joined(channel)) => Some(channel),
            _ => None,
        };
        match self.store.purge_stale(id, channel).await {
            Ok(PurgeOutcome::Unlisted) => {
                tracing::debug!(connection.id = %id, "gone connection removed from listings")
            }
            Ok(PurgeOutcome::HandshakePending) => {
                tracing::debug!(connection.id = %id, "gone connection kept: its handshake may be in progress")
            }
            Err(error) => {
                tracing::warn!(
                    connection.id = %id,
                    error = %errors::chain(&error),
                    "removing a gone connection from listings failed"
                );
            }
        }
    }

    /// Posts to a single connection and returns the outcome of that post.
    async fn post_to_one(&self, id: &ConnectionId, frame: Blob) -> Result<DeliveryOutcome, DeliveryError> {
        let deadline = Instant::now() + self.limits.delivery_timeout;
        match self.post_with_timeout(id.clone(), &frame, None, deadline).await {
            PostOutcome::Sent => Ok(DeliveryOutcome::Delivered(Some(1))),
            PostOutcome::Gone => Ok(DeliveryOutcome::ConnectionGone),
            PostOutcome::Failed(error) => Err(error.into()),
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

    /// Posts an error frame before closing an expired token's connection, because API Gateway always closes with code
    /// 1000 (`docs/PROTOCOL.md`, Close codes).
    async fn close_connection(
        &self,
        connection: &ConnectionId,
        reason: CloseReason,
    ) -> Result<DeliveryOutcome, DeliveryError> {
        if reason == CloseReason::TokenExpired {
            let text = "the token has expired: obtain a new one and reconnect";
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
            PostOutcome::Failed(error) => Err(error.into()),
        }
    }
}
