//! What stands for `@connections`: it keeps what each connection was posted, and answers as it is told to.

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

/// What a connection answers posts with.
#[derive(Debug, Clone, Default)]
pub enum Mood {
    /// Posts are taken.
    #[default]
    Open,
    /// 410.
    Gone,
    /// 429 this often, then posts are taken.
    Throttled(u32),
    /// No answer ever.
    Silent,
    /// 403.
    Denied,
}

#[derive(Default)]
struct Client {
    mood: Mood,
    frames: VecDeque<Bytes>,
    last: Option<Bytes>,
    deleted: bool,
}

#[derive(Default)]
struct State {
    clients: HashMap<String, Client>,
    under_way: usize,
    most_under_way: usize,
    posts: usize,
}

/// The gateway's side.
pub struct Gateway {
    pub stub: Stub,
    state: Arc<Mutex<State>>,
    /// While it is `false`, posts wait.
    open: Arc<watch::Sender<bool>>,
}

impl Gateway {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let open = Arc::new(watch::Sender::new(true));
        let (shared, gate) = (state.clone(), open.clone());
        let answer = move |request: Request<Bytes>| answer(shared.clone(), gate.clone(), request).boxed();
        Self { stub: Stub::start(Arc::new(answer)).await, state, open }
    }

    pub fn set(&self, id: &ConnectionId, mood: Mood) {
        self.state.lock().unwrap().clients.entry(id.to_string()).or_default().mood = mood;
    }

    pub fn take(&self, id: &ConnectionId) -> Vec<Bytes> {
        let mut state = self.state.lock().unwrap();
        state.clients.get_mut(id.as_str()).map(|client| client.frames.drain(..).collect()).unwrap_or_default()
    }

    /// The reason that the client can see: what came last before the close.
    pub fn closed(&self, id: &ConnectionId) -> Option<CloseReason> {
        let state = self.state.lock().unwrap();
        let client = state.clients.get(id.as_str()).filter(|client| client.deleted)?;
        let expired =
            client.last.as_ref().is_some_and(|frame| String::from_utf8_lossy(frame).contains("token_expired"));
        Some(if expired { CloseReason::TokenExpired } else { CloseReason::Kicked })
    }

    /// How many posts came in all, and the most that were under way at a time.
    pub fn posts(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.posts, state.most_under_way)
    }

    /// Lets posts wait, or no longer.
    pub fn open(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Waits until this many posts are under way.
    pub async fn until_under_way(&self, posts: usize) {
        with_timeout("posts to be under way", async {
            while self.state.lock().unwrap().under_way < posts {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

async fn answer(state: Arc<Mutex<State>>, open: Arc<watch::Sender<bool>>, request: Request<Bytes>) -> Response<Bytes> {
    let path = request.uri().path().to_owned();
    let id = path.rsplit('/').next().unwrap().replace("%3D", "=");
    {
        let mut state = state.lock().unwrap();
        state.posts += 1;
        state.under_way += 1;
        state.most_under_way = state.most_under_way.max(state.under_way);
    }
    open.subscribe().wait_for(|open| *open).await.unwrap();
    let mood = decide(&mut state.lock().unwrap(), &id, request);
    if matches!(mood, Mood::Silent) {
        std::future::pending::<()>().await;
    }
    state.lock().unwrap().under_way -= 1;
    match mood {
        Mood::Gone => refusal(410, "GoneException"),
        Mood::Throttled(_) => refusal(429, "LimitExceededException"),
        Mood::Denied => refusal(403, "AccessDeniedException"),
        Mood::Open | Mood::Silent => Response::new(Bytes::new()),
    }
}

/// What this request is answered with; an open connection keeps what it was posted.
fn decide(state: &mut State, id: &str, request: Request<Bytes>) -> Mood {
    let Some(client) = state.clients.get_mut(id).filter(|client| !client.deleted) else { return Mood::Gone };
    let mood = client.mood.clone();
    match &mut client.mood {
        Mood::Throttled(0) => client.mood = Mood::Open,
        Mood::Throttled(left) => {
            *left -= 1;
            return mood;
        }
        Mood::Gone | Mood::Silent | Mood::Denied => return mood,
        Mood::Open => {}
    }
    if request.method() == Method::DELETE {
        client.deleted = true;
    } else {
        client.last = Some(request.body().clone());
        client.frames.push_back(request.into_body());
    }
    Mood::Open
}

fn refusal(status: u16, name: &str) -> Response<Bytes> {
    Response::builder().status(status).header("x-amzn-errortype", name).body(Bytes::new()).unwrap()
}
