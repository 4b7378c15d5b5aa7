//! One HTTP connection, until it closes or becomes a WebSocket, and its deadlines:
//!
//! ```text
//! accepted ── head of the first request ── request ── response ── idle ── request ── …
//!             header timeout               (handler)  write timeout  keep-alive timeout
//! ```
//! hyper limits the time for a head only, and has one limit for the first head and for an idle connection
//! (`docs/adr/0025-http-connections.md`).

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::Either;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::monitored_stream::{ConnectionActivity, MonitoredStream};
use super::{BoxedRoutes, ConnectionPermit, ConnectionPermits, ListenerConfig};
use crate::server::proxy_protocol::read_proxied_address;

/// Minimum bytes of a response that a client must read in each write timeout.
const MIN_WRITE_BYTES: u64 = 16 * 1024;
/// Maximum time for discarding a rejected body after the response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Age from which a connection closes after its next response, so that no client holds one for ever.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(60 * 60);

/// A connection and what it needs from its listener.
pub(super) struct HttpConnection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) permit: ConnectionPermit,
    pub(super) permits: ConnectionPermits,
    pub(super) routes: BoxedRoutes,
    pub(super) config: Arc<ListenerConfig>,
}

impl HttpConnection {
    /// Serves requests until the connection closes, is upgraded, or exceeds a deadline; after `stop` only the current
    /// request.
    pub(super) async fn serve_requests(self, http: http1::Builder, stop: CancellationToken) {
        let Self { mut stream, peer, permit, permits, routes, config } = self;
        let Some(peer) = proxied_peer(&mut stream, peer, &config).await else { return };
        let activity = Arc::new(ConnectionActivity::default());
        let io = TokioIo::new(MonitoredStream::new(stream, activity.clone()));
        let mut deadlines = ConnectionDeadlines::start_deadlines(activity.clone(), permits.clone(), config.clone());
        let lifetime = ConnectionLifetime { started_at: Instant::now(), activity, permits };
        let (routes, policy) = (warp::service(routes), config.policy.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            lifetime.activity.start_request();
            request.extensions_mut().insert(permit.clone());
            let has_body = !request.body().is_end_stream();
            let response = match policy.admit(&mut request, peer) {
                Ok(()) => Either::Left(routes.clone().call(request)),
                Err(rejection) => Either::Right(std::future::ready(Ok(rejection))),
            };
            let lifetime = lifetime.clone();
            async move {
                let mut response = response.await?;
                lifetime.finish_request(has_body, &mut response);
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let mut connection = std::pin::pin!(http.serve_connection(io, service).with_upgrades());
        let mut stopped = std::pin::pin!(stop.cancelled());
        let mut stopping = false;
        // Errors of a client's connection are not logged: no operator can act on them.
        std::future::poll_fn(|cx| {
            if !stopping && stopped.as_mut().poll(cx).is_ready() {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            match connection.as_mut().poll(cx) {
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => deadlines.poll_overdue(cx),
            }
        })
        .await;
    }
}

/// Returns the address of the client or of the last HTTP proxy: the peer, or the address in its PROXY header. Returns
/// `None` for a connection without a valid header where one is required.
async fn proxied_peer(stream: &mut TcpStream, peer: SocketAddr, config: &ListenerConfig) -> Option<IpAddr> {
    let direct = peer.ip().to_canonical();
    let proxies = &config.policy.proxies;
    if !proxies.requires_proxy_protocol {
        return Some(direct);
    }
    if !proxies.trusts_peer(direct) {
        tracing::warn!("connection closed: its peer is not in server.trusted_proxies");
        return None;
    }
    match tokio::time::timeout(config.header_timeout, read_proxied_address(stream, peer)).await {
        Ok(Ok(client)) => Some(client.ip().to_canonical()),
        Ok(Err(error)) => {
            tracing::warn!(error = %errors::chain(&error), "connection closed: no valid PROXY header");
            None
        }
        Err(_) => None,
    }
}

/// Decides whether a connection is kept after a response.
#[derive(Clone)]
struct ConnectionLifetime {
    started_at: Instant,
    activity: Arc<ConnectionActivity>,
    permits: ConnectionPermits,
}

impl ConnectionLifetime {
    /// Records that the response to a request is ready, and adds `Connection: close` if the connection is not kept.
    fn finish_request<B>(&self, has_body: bool, response: &mut Response<B>) {
        self.activity.finish_request();
        let rejected_body = has_body && is_rejection(response.status());
        if rejected_body {
            self.activity.reject_body();
        }
        let close = rejected_body || self.permits.are_scarce() || self.started_at.elapsed() > MAX_CONNECTION_AGE;
        if close && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Returns whether this status may be sent before the body of the request is read.
const fn is_rejection(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403..=405 | 408 | 413 | 414 | 426 | 429 | 503)
}

/// Event that a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionPhase {
    /// The head of the first request.
    FirstHead,
    /// The response of this request, counted from 1. Handlers have their own timeouts.
    Response(u64),
    /// The client, which has to read a response.
    BlockedWrite,
    /// The request after this one.
    Idle(u64),
    /// The end of a body that was rejected.
    RejectedBody,
}

/// The deadline of a connection's phase.
struct ConnectionDeadlines {
    activity: Arc<ConnectionActivity>,
    permits: ConnectionPermits,
    config: Arc<ListenerConfig>,
    phase: ConnectionPhase,
    phase_started: Instant,
    /// Bytes written when the current write window started.
    written_before: u64,
    /// Fires at or before the deadline of the phase.
    timer: Pin<Box<Sleep>>,
}

impl ConnectionDeadlines {
    fn start_deadlines(
        activity: Arc<ConnectionActivity>,
        permits: ConnectionPermits,
        config: Arc<ListenerConfig>,
    ) -> Self {
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now + config.header_timeout));
        let phase = ConnectionPhase::FirstHead;
        Self { activity, permits, config, phase, phase_started: now, written_before: 0, timer }
    }

    /// Resolves when the connection has exceeded its deadline. To be polled after each poll of the connection.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let phase = self.current_phase();
        if phase != self.phase {
            let now = Instant::now();
            (self.phase, self.phase_started, self.written_before) = (phase, now, self.activity.written_bytes());
            self.rearm_timer(now);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if self.is_overdue(now) {
                return Poll::Ready(());
            }
            self.rearm_timer(now);
        }
        Poll::Pending
    }

    fn current_phase(&self) -> ConnectionPhase {
        let requests = self.activity.requests();
        if self.activity.is_lingering() {
            ConnectionPhase::RejectedBody
        } else if self.activity.is_write_blocked() {
            ConnectionPhase::BlockedWrite
        } else if self.activity.is_request_pending() {
            ConnectionPhase::Response(requests)
        } else if requests == 0 {
            ConnectionPhase::FirstHead
        } else {
            ConnectionPhase::Idle(requests)
        }
    }

    /// Returns when the phase has to be checked again: at its deadline, or earlier when it depends on more than the
    /// time.
    fn next_check(&self, now: Instant) -> Instant {
        let ListenerConfig { header_timeout, keep_alive_timeout, write_timeout, .. } = &*self.config;
        match self.phase {
            ConnectionPhase::FirstHead => self.phase_started + *header_timeout,
            ConnectionPhase::BlockedWrite => self.phase_started + *write_timeout,
            ConnectionPhase::RejectedBody => self.phase_started + LINGER_TIMEOUT,
            ConnectionPhase::Response(_) => now + MAX_CONNECTION_AGE,
            ConnectionPhase::Idle(_) => (self.phase_started + *keep_alive_timeout).min(now + *header_timeout),
        }
    }

    fn rearm_timer(&mut self, now: Instant) {
        let next = self.next_check(now);
        if self.timer.is_elapsed() || next < self.timer.deadline() {
            self.timer.as_mut().reset(next);
        }
    }

    fn is_overdue(&mut self, now: Instant) -> bool {
        let elapsed = now.duration_since(self.phase_started);
        match self.phase {
            ConnectionPhase::FirstHead => elapsed >= self.config.header_timeout,
            ConnectionPhase::BlockedWrite => elapsed >= self.config.write_timeout && self.is_write_stalled(now),
            ConnectionPhase::RejectedBody => elapsed >= LINGER_TIMEOUT,
            ConnectionPhase::Response(_) => false,
            ConnectionPhase::Idle(_) => {
                let unneeded = elapsed >= self.config.header_timeout && self.permits.are_scarce();
                unneeded || elapsed >= self.config.keep_alive_timeout
            }
        }
    }

    /// Returns whether the client read too little in the write window that ends now, and starts the next one.
    fn is_write_stalled(&mut self, now: Instant) -> bool {
        let written = self.activity.written_bytes();
        let stalled = written - self.written_before < MIN_WRITE_BYTES;
        (self.phase_started, self.written_before) = (now, written);
        stalled
    }
}
