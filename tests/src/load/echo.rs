//! Echo: every connection keeps `in_flight` messages under way and sends the next one for each reply.
//!
//! Invariant: a reply is counted, and its place taken by the next message, only when it is the reply that was expected (by
//! its marker or its length). Other frames are counted apart and free no place, so a server that answers with errors
//! shows a rate near zero instead of a fine one.

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

/// What to run.
#[derive(clap::Args, Clone)]
pub struct EchoPlan {
    #[command(flatten)]
    opening: DialOptions,
    /// Connections
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    connections: u32,
    /// Bytes of a message
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    bytes: u32,
    /// Messages that each connection keeps under way
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    in_flight: u32,
    /// Seconds that are measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds before the measured ones
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up: u64,
    /// The message; `{pad}` fills it up to --bytes, `{run}` is unique to this run
    #[arg(long, default_value = "{pad}")]
    message: String,
    /// A frame is a reply when it contains this text (default: when it is as long as a reply should be)
    #[arg(long)]
    reply_marker: Option<String>,
    /// Length of a reply, if it is not the message's
    #[arg(long, conflicts_with = "reply_marker")]
    reply_bytes: Option<usize>,
}

/// What came out. CPU times are per reply, in microseconds.
#[derive(Debug, Deserialize, Serialize)]
pub struct EchoReport {
    /// Connections that were open.
    pub connections: u32,
    /// Bytes of a message.
    pub bytes: usize,
    /// Messages under way on each connection.
    pub in_flight: u32,
    /// Seconds that were measured.
    pub seconds: f64,
    /// Replies in that time.
    pub replies: u64,
    /// Frames that were not the expected reply, from the beginning of the run.
    pub unexpected_frames: u64,
    /// Replies in a second.
    pub messages_per_second: f64,
    /// From sending a message to reading its reply.
    pub latency_us: LatencySummary,
    /// CPU time of the server for each reply.
    pub server_cpu_us: Option<f64>,
    /// CPU time of this generator for each reply.
    pub generator_cpu_us: f64,
}

/// What distinguishes a reply.
enum Expected {
    Marker(String),
    Bytes(usize),
}

impl Expected {
    fn is_met(&self, payload: &[u8]) -> bool {
        match self {
            Self::Bytes(bytes) => payload.len() == *bytes,
            Self::Marker(marker) => payload.windows(marker.len()).any(|window| window == marker.as_bytes()),
        }
    }
}

/// What all connections share: one thread, so no lock.
struct Traffic {
    /// `in_flight` copies of the masked frame: n replies are answered with the first n in one write.
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
/// When a connection cannot be opened or ends early, or no expected reply arrives at all.
pub async fn run(plan: &EchoPlan) -> anyhow::Result<EchoReport> {
    let dialer = Dialer::new(&plan.opening)?;
    let (traffic, bytes) = traffic(plan)?;
    let mut sessions = JoinSet::new();
    for number in 0..plan.connections {
        let connection = dialer.open(number as usize).await.with_context(|| format!("opening connection {number}"))?;
        sessions.spawn_local(converse(connection, Rc::clone(&traffic)));
    }
    hold(&mut sessions, plan.warm_up).await?;
    let replies_before = {
        let mut tally = traffic.tally.borrow_mut();
        tally.latencies.reset();
        tally.replies
    };
    let window = Window::open(plan.opening.server_pid)?;
    hold(&mut sessions, plan.seconds).await?;
    let usage = window.close()?;
    let tally = traffic.tally.borrow();
    report(plan, bytes, &tally, tally.replies - replies_before, usage)
}

fn traffic(plan: &EchoPlan) -> anyhow::Result<(Rc<Traffic>, usize)> {
    let template = Template::new(&plan.message, plan.bytes as usize);
    ensure!(!template.is_numbered(), "`{{seq}}` has no meaning here: the message is built once");
    let message = template.render(0);
    let frame = websocket::encode(opcode::TEXT, message.as_bytes());
    let expected = match &plan.reply_marker {
        Some(marker) => {
            ensure!(!marker.is_empty(), "an empty --reply-marker matches everything");
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

/// Lets the sessions run for some seconds; one that ends spoils the measurement.
async fn hold(sessions: &mut JoinSet<anyhow::Result<Infallible>>, seconds: u64) -> anyhow::Result<()> {
    match timeout(Duration::from_secs(seconds), sessions.join_next()).await {
        Err(_) | Ok(None) => Ok(()),
        Ok(Some(Err(panic))) => Err(panic).context("a session panicked"),
        Ok(Some(Ok(Err(error)))) => Err(error).context("a connection ended during the run"),
    }
}

/// One connection: sends the first burst, then a message for every reply, for as long as the run lasts.
async fn converse(mut connection: Connection, traffic: Rc<Traffic>) -> anyhow::Result<Infallible> {
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

/// Reads once, counts the replies, and sends as many messages. Replies come in the order of the messages.
fn poll_exchange(
    cx: &mut Context<'_>,
    connection: &mut Connection,
    traffic: &Traffic,
    sent: &mut VecDeque<Instant>,
) -> Poll<anyhow::Result<()>> {
    connection.poll_pending(cx)?;
    let (mut replies, mut unexpected) = (0, 0);
    ready!(connection.poll_messages(cx, &traffic.buffer, |payload| {
        if replies < traffic.in_flight && traffic.expected.is_met(payload) {
            replies += 1;
        } else {
            unexpected += 1;
        }
    }))?;
    let now = Instant::now();
    let mut tally = traffic.tally.borrow_mut();
    tally.replies += replies as u64;
    tally.unexpected += unexpected;
    for began in sent.drain(..replies) {
        tally.latencies.record(now - began);
    }
    drop(tally);
    sent.extend(std::iter::repeat_n(now, replies));
    Poll::Ready(connection.send(&traffic.burst[..replies * traffic.frame_bytes]))
}
