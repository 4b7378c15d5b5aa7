//! Stub of the `@connections` API: records the frames posted to each connection and replies as a test configures.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use handlers::id::ConnectionId;
use handlers::ports::CloseReason;
use http::{Method, Request, Response};
use tests::eventually::with_timeout;
use tokio::sync::watch;

use crate::stub::Stub;

/// Reply to posts to a connection.
#[derive(Debug, Clone, Default)]
pub enum PostReply {
    /// 200.
    #[default]
    Accepted,
    /// 410.
    Gone,
    /// 429 for this number of posts, then 200.
    Throttled(u32),
    /// The request never completes.
    NoReply,
    /// 403.
    Denied,
}

#[derive(Default)]
struct StubConnection {
    reply: PostReply,
    frames: VecDeque<Bytes>,
    last: Option<Bytes>,
    deleted: bool,
}

#[derive(Default)]
struct GatewayState {
    connections: HashMap<String, StubConnection>,
    in_flight: usize,
    max_in_flight: usize,
    posts: usize,
}

/// The `@connections` API of a test.
pub struct GatewayStub {
    pub stub: Stub,
    state: Arc<Mutex<GatewayState>>,
    /// While `false`, posts are held.
    accepting: Arc<watch::Sender<bool>>,
}

impl GatewayStub {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(GatewayState::default()));
        let accepting = Arc::new(watch::Sender::new(true));
        let (shared, gate) = (state.clone(), accepting.clone());
        let respond = move |request: Request<Bytes>| respond(shared.clone(), gate.clone(), request).boxed();
        Self { stub: Stub::start(Arc::new(respond)).await, state, accepting }
    }

    pub fn set_reply(&self, id: &ConnectionId, reply: PostReply) {
        self.state.lock().unwrap().connections.entry(id.to_string()).or_default().reply = reply;
    }

    /// Returns the frames posted since the last call.
    pub fn take_frames(&self, id: &ConnectionId) -> Vec<Bytes> {
        let mut state = self.state.lock().unwrap();
        let connection = state.connections.get_mut(id.as_str());
        connection.map(|connection| connection.frames.drain(..).collect()).unwrap_or_default()
    }

    /// Returns the close reason as the client sees it: from the last frame before the close.
    pub fn close_reason(&self, id: &ConnectionId) -> Option<CloseReason> {
        let state = self.state.lock().unwrap();
        let connection = state.connections.get(id.as_str()).filter(|connection| connection.deleted)?;
        let expired =
            connection.last.as_ref().is_some_and(|frame| String::from_utf8_lossy(frame).contains("token_expired"));
        Some(if expired { CloseReason::TokenExpired } else { CloseReason::Kicked })
    }

    /// Returns the number of all posts, and the maximum in flight at one time.
    pub fn post_counts(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.posts, state.max_in_flight)
    }

    /// Holds posts (`false`) or lets them proceed.
    pub fn accept_posts(&self, accepting: bool) {
        self.accepting.send_replace(accepting);
    }

    /// Waits until this number of posts is in flight.
    pub async fn wait_in_flight(&self, posts: usize) {
        with_timeout("posts to be in flight", async {
            while self.state.lock().unwrap().in_flight < posts {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

async fn respond(
    state: Arc<Mutex<GatewayState>>,
    accepting: Arc<watch::Sender<bool>>,
    request: Request<Bytes>,
) -> Response<Bytes> {
    let path = request.uri().path().to_owned();
    let id = path.rsplit('/').next().unwrap().replace("%3D", "=");
    {
        let mut state = state.lock().unwrap();
        state.posts += 1;
        state.in_flight += 1;
        state.max_in_flight = state.max_in_flight.max(state.in_flight);
    }
    accepting.subscribe().wait_for(|accepting| *accepting).await.unwrap();
    let reply = handle_request(&mut state.lock().unwrap(), &id, request);
    if matches!(reply, PostReply::NoReply) {
        std::future::pending::<()>().await;
    }
    state.lock().unwrap().in_flight -= 1;
    match reply {
        PostReply::Gone => error_response(410, "GoneException"),
        PostReply::Throttled(_) => error_response(429, "LimitExceededException"),
        PostReply::Denied => error_response(403, "AccessDeniedException"),
        PostReply::Accepted | PostReply::NoReply => Response::new(Bytes::new()),
    }
}

/// Returns the reply to a request; an accepted post is recorded.
fn handle_request(state: &mut GatewayState, id: &str, request: Request<Bytes>) -> PostReply {
    let connection = state.connections.get_mut(id).filter(|connection| !connection.deleted);
    let Some(connection) = connection else { return PostReply::Gone };
    let reply = connection.reply.clone();
    match &mut connection.reply {
        PostReply::Throttled(0) => connection.reply = PostReply::Accepted,
        PostReply::Throttled(remaining) => {
            *remaining -= 1;
            return reply;
        }
        PostReply::Gone | PostReply::NoReply | PostReply::Denied => return reply,
        PostReply::Accepted => {}
    }
    if request.method() == Method::DELETE {
        connection.deleted = true;
    } else {
        connection.last = Some(request.body().clone());
        connection.frames.push_back(request.into_body());
    }
    PostReply::Accepted
}

fn error_response(status: u16, name: &str) -> Response<Bytes> {
    Response::builder().status(status).header("x-amzn-errortype", name).body(Bytes::new()).unwrap()
}
