//! Echo scenario: every connection keeps `in_flight` messages in flight and sends the next one after each reply.
//!
//! Only the expected reply (by its marker or its length) is counted and triggers the next message. Other frames are
//! counted separately and trigger none, so a server that replies with errors shows a rate near zero instead of a high
//! one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::{Connection, ReadBuffer};
use super::dialer::{DialOptions, Dialer};
use super::report::{Latencies, LatencySummary, Usage, Window};
use super::template::Template;
use crate::websocket::{self, opcode};

/// Plan of a run.
#[derive(clap::Args, Clone)]
pub struct EchoPlan {
    #[command(flatten)]
    options: DialOptions,
    /// Connections
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    connections: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    bytes: u32,
    /// Messages that each connection keeps in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    in_flight: u32,
    /// Length of the measured window in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Length of the warm-up in seconds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up: u64,
    /// Message text; `{pad}` fills it up to --bytes, `{run}` is unique to this run
    #[arg(long, default_value = "{pad}")]
    message: String,
    /// Text that a reply contains (default: a reply is recognized by its length)
    #[arg(long)]
    reply_marker: Option<String>,
    /// Length of a reply, if it differs from the message's
    #[arg(long, conflicts_with = "reply_marker")]
    reply_bytes: Option<usize>,
}

/// Results. CPU times are per reply, in microseconds.
#[derive(Debug, Deserialize, Serialize)]
pub struct EchoReport {
    /// Number of open connections.
    pub connections: u32,
    /// Bytes of a message.
    pub bytes: usize,
    /// Messages in flight on each connection.
    pub in_flight: u32,
    /// Length of the measured window in seconds.
    pub seconds: f64,
    /// Replies in the window.
    pub replies: u64,
    /// Frames other than the expected reply, in the whole run.
    pub unexpected_frames: u64,
    /// Replies per second.
    pub messages_per_second: f64,
    /// Time from sending a message to reading its reply.
    pub latency_us: LatencySummary,
    /// CPU time of the server per reply.
    pub server_cpu_us: Option<f64>,
    /// CPU time of this generator per reply.
    pub generator_cpu_us: f64,
}

/// Criterion of a reply.
enum Expected {
    Marker(String),
    Bytes(usize),
}

impl Expected {
    fn matches(&self, payload: &[u8]) -> bool {
        match self {
            Self::Bytes(bytes) => payload.len() == *bytes,
            Self::Marker(marker) => payload.windows(marker.len()).any(|window| window == marker.as_bytes()),
        }
    }
}

/// State shared by all connections; no lock, because there is one thread.
struct Traffic {
    /// `in_flight` copies of the masked frame: n replies trigger one write of the first n.
    burst: Vec<u8>,
    frame_bytes: usize,
    in_flight: usize,
    expected: Expected,
    buffer: ReadBuffer,
    tally: RefCell<Tally>,
}

#[derive(Default)]
struct Tally {
    replies: u64,
    unexpected: u64,
    latencies: Latencies,
}

/// Runs the plan.
///
/// # Errors
/// A connection cannot be opened or ends early, or no expected reply arrives.
pub async fn run(plan: &EchoPlan) -> anyhow::Result<EchoReport> {
    let dialer = Dialer::new(&plan.options)?;
    let (traffic, bytes) = traffic(plan)?;
    let mut sessions = JoinSet::new();
    for number in 0..plan.connections {
        let connection = dialer.open(number as usize).await.with_context(|| format!("opening connection {number}"))?;
        sessions.spawn_local(run_connection(connection, Rc::clone(&traffic)));
    }
    run_sessions(&mut sessions, plan.warm_up).await?;
    let replies_before = {
        let mut tally = traffic.tally.borrow_mut();
        tally.latencies.reset();
        tally.replies
    };
    let window = Window::open(plan.options.server_pid)?;
    run_sessions(&mut sessions, plan.seconds).await?;
    let usage = window.close()?;
    let tally = traffic.tally.borrow();
    report(plan, bytes, &tally, tally.replies - replies_before, usage)
}

fn traffic(plan: &EchoPlan) -> anyhow::Result<(Rc<Traffic>, usize)> {
    let template = Template::new(&plan.message, plan.bytes as usize);
    ensure!(!template.is_numbered(), "`{{seq}}` is not supported here: the message is built once");
    let message = template.render(0);
    let frame = websocket::encode(opcode::TEXT, message.as_bytes());
    let expected = match &plan.reply_marker {
        Some(marker) => {
            ensure!(!marker.is_empty(), "an empty --reply-marker matches every frame");
            Expected::Marker(marker.clone())
        }
        None => Expected::Bytes(plan.reply_bytes.unwrap_or(message.len())),
    };
    let in_flight = plan.in_flight as usize;
    let traffic = Traffic {
        burst: frame.repeat(in_flight),
        frame_bytes: frame.len(),
        in_flight,
        expected,
        buffer: ReadBuffer::new(),
        tally: RefCell::default(),
    };
    Ok((Rc::new(traffic), message.len()))
}

fn report(plan: &EchoPlan, bytes: usize, tally: &Tally, replies: u64, usage: Usage) -> anyhow::Result<EchoReport> {
    let unexpected = tally.unexpected;
    ensure!(replies > 0, "no expected reply arrived in the measured time ({unexpected} other frames did)");
    Ok(EchoReport {
        connections: plan.connections,
        bytes,
        in_flight: plan.in_flight,
        seconds: usage.elapsed.as_secs_f64(),
        replies,
        unexpected_frames: tally.unexpected,
        messages_per_second: usage.per_second(replies),
        latency_us: tally.latencies.summary(),
        server_cpu_us: usage.server_micros_per(replies),
        generator_cpu_us: usage.own_micros_per(replies),
    })
}

/// Runs the sessions for some seconds; one that ends invalidates the measurement.
async fn run_sessions(sessions: &mut JoinSet<anyhow::Result<Infallible>>, seconds: u64) -> anyhow::Result<()> {
    match timeout(Duration::from_secs(seconds), sessions.join_next()).await {
        Err(_) | Ok(None) => Ok(()),
        Ok(Some(Err(panic))) => Err(panic).context("a session panicked"),
        Ok(Some(Ok(Err(error)))) => Err(error).context("a connection ended during the run"),
    }
}

/// Runs one connection: sends the first burst, then a message after every reply.
async fn run_connection(mut connection: Connection, traffic: Rc<Traffic>) -> anyhow::Result<Infallible> {
    connection.send(&traffic.burst)?;
    let mut sent: VecDeque<Instant> = std::iter::repeat_n(Instant::now(), traffic.in_flight).collect();
    std::future::poll_fn(|cx| {
        loop {
            if let Err(error) = ready!(poll_exchange(cx, &mut connection, &traffic, &mut sent)) {
                return Poll::Ready(Err(error));
            }
        }
    })
    .await
}

/// Reads once, counts the replies, and sends as many messages. Replies arrive in the order of the messages.
fn poll_exchange(
    cx: &mut Context<'_>,
    connection: &mut Connection,
    traffic: &Traffic,
    sent: &mut VecDeque<Instant>,
) -> Poll<anyhow::Result<()>> {
    connection.poll_pending(cx)?;
    let (mut replies, mut unexpected) = (0, 0);
    ready!(connection.poll_messages(cx, &traffic.buffer, |payload| {
        if replies < traffic.in_flight && traffic.expected.matches(payload) {
            replies += 1;
        } else {
            unexpected += 1;
        }
    }))?;
    let now = Instant::now();
    let mut tally = traffic.tally.borrow_mut();
    tally.replies += replies as u64;
    tally.unexpected += unexpected;
    for started in sent.drain(..replies) {
        tally.latencies.record(now - started);
    }
    drop(tally);
    sent.extend(std::iter::repeat_n(now, replies));
    Poll::Ready(connection.send(&traffic.burst[..replies * traffic.frame_bytes]))
}
