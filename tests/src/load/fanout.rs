//! Fan-out: publishers keep a number of broadcasts under way, receivers count what reaches them.
//!
//! Every broadcast carries a number in its text, so deliveries are counted exactly whatever envelope the server puts
//! around it, and whatever else it sends. The next broadcast goes out when one has reached every receiver, or when it was
//! given up, and not before its time when there is a pace; at the end the generator waits for stragglers before it calls a
//! delivery lost.

mod delivery_tracker;
mod participants;

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{Interval, interval, sleep, timeout};

use self::delivery_tracker::{DELIVERY_TIMEOUT, DeliveryTracker};
use self::participants::{open_publishers, open_receivers};
use super::connection::{Connection, ReadBuffer};
use super::dialer::DialOptions;
use super::report::{LatencySummary, Usage, Window};
use super::template::{self, Template};
use crate::websocket::{self, opcode};

/// How often overdue broadcasts are looked for, at least.
const OVERDUE_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// What to run.
#[derive(clap::Args, Clone)]
pub struct FanoutPlan {
    #[command(flatten)]
    opening: DialOptions,
    /// Receivers, connected to --url
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    receivers: u32,
    /// What a receiver sends first, for example to subscribe
    #[arg(long)]
    subscribe_frame: Option<String>,
    /// A receiver is ready when a frame with this text has arrived
    #[arg(long)]
    subscribed_marker: Option<String>,
    /// Publishers send the first frame as well, and wait for its answer
    #[arg(long)]
    publishers_subscribe: bool,
    /// Publishing connections
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    publishers: u32,
    /// Where publishers connect (default: --url)
    #[arg(long)]
    publish_url: Option<String>,
    /// File with the publishers' tokens (default: the receivers' tokens)
    #[arg(long)]
    publish_token_file: Option<PathBuf>,
    /// What is published: `{seq}` numbers it and is needed, `{pad}` fills it up to --bytes, `{run}` is unique to this run
    #[arg(long, default_value = "{seq}{pad}")]
    publish_frame: String,
    /// Bytes of a broadcast
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    bytes: u32,
    /// Broadcasts under way at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    in_flight: u32,
    /// Broadcasts in a second, evenly spaced; latencies are then counted from when one was due (default: as many as
    /// --in-flight lets)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: Option<u32>,
    /// Seconds that are measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds before the measured ones
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up: u64,
}

/// What came out. CPU times are per delivery, in microseconds.
#[derive(Debug, Deserialize, Serialize)]
pub struct FanoutReport {
    /// Receivers at the beginning.
    pub receivers: u32,
    /// Receivers whose connection ended before the run did; what they missed counts as lost.
    pub receivers_lost: u32,
    /// Bytes of a broadcast as it is published.
    pub bytes: usize,
    /// Bytes of a frame as it reaches a receiver.
    pub delivered_bytes: usize,
    /// Broadcasts under way at once.
    pub in_flight: u32,
    /// Broadcasts that were due in a second, if there was a pace.
    pub rate: Option<u32>,
    /// Seconds that were measured.
    pub seconds: f64,
    /// Deliveries in that time.
    pub deliveries: u64,
    /// Broadcasts of the whole run, for each of which every receiver should have had one delivery.
    pub published: u64,
    /// Deliveries that never came, in the whole run: exact.
    pub lost: u64,
    /// Deliveries that came twice or behind a later one of the same publisher, in the whole run.
    pub repeated: u64,
    /// Frames without a number: answers, notices, errors.
    pub other_frames: u64,
    /// Deliveries in a second.
    pub deliveries_per_second: f64,
    /// Deliveries in a second of the server's CPU time.
    pub deliveries_per_cpu_second: Option<f64>,
    /// From publishing to reading at a receiver.
    pub latency_us: LatencySummary,
    /// CPU time of the server for each delivery.
    pub server_cpu_us: Option<f64>,
    /// CPU time of this generator for each delivery.
    pub generator_cpu_us: f64,
}

/// What all connections share: one thread, so no lock.
#[derive(Clone)]
struct FanoutTraffic {
    board: Rc<RefCell<DeliveryTracker>>,
    buffer: ReadBuffer,
    template: Rc<Template>,
}

/// Runs the plan.
///
/// # Errors
/// When a connection cannot be opened, a publisher's ends, or nothing is delivered.
pub async fn run(plan: &FanoutPlan) -> anyhow::Result<FanoutReport> {
    let template = Rc::new(Template::new(&plan.publish_frame, plan.bytes as usize));
    ensure!(template.is_numbered(), "--publish-frame needs a `{{seq}}`, or deliveries could not be told apart");
    let board = Rc::new(RefCell::new(DeliveryTracker::new(plan.receivers, plan.publishers, plan.in_flight as usize)));
    let traffic = FanoutTraffic { board, buffer: ReadBuffer::new(), template };
    let mut receivers = open_receivers(plan, &traffic).await?;
    let publishers = open_publishers(plan, &traffic.buffer).await?;
    let beat = plan.rate.map(|rate| Duration::from_secs(1) / rate);
    if let Some(beat) = beat {
        traffic.board.borrow_mut().set_schedule(beat, Instant::now());
    }
    let looks = interval(beat.unwrap_or(OVERDUE_CHECK_INTERVAL).min(OVERDUE_CHECK_INTERVAL));
    let mut publishing = JoinSet::new();
    publishing.spawn_local(publish(publishers, traffic.clone(), looks));

    run_publishers(&mut publishing, plan.warm_up).await?;
    let delivered_before = traffic.board.borrow_mut().start_window();
    let window = Window::open(plan.opening.server_pid)?;
    run_publishers(&mut publishing, plan.seconds).await?;
    let usage = window.close()?;
    let delivered = traffic.board.borrow().deliveries - delivered_before;
    let latency = traffic.board.borrow().latencies.summary();

    traffic.board.borrow_mut().stop_publishing();
    wait_for_overdue(&traffic, &mut publishing).await?;
    let mut lost = 0;
    while receivers.try_join_next().is_some() {
        lost += 1;
    }
    report(plan, &traffic, lost, (delivered, latency), usage)
}

/// Lets the publishers run for some seconds; when one ends, the run is spoilt.
async fn run_publishers(publishing: &mut JoinSet<anyhow::Error>, seconds: u64) -> anyhow::Result<()> {
    match timeout(Duration::from_secs(seconds), publishing.join_next()).await {
        Err(_) | Ok(None) => Ok(()),
        Ok(Some(ended)) => Err(ended.context("the publisher panicked")?).context("publishing"),
    }
}

/// Waits until every broadcast is complete or overdue. Overdue ones are given up by the publishing task, one look late.
async fn wait_for_overdue(traffic: &FanoutTraffic, publishing: &mut JoinSet<anyhow::Error>) -> anyhow::Result<()> {
    let until = Instant::now() + DELIVERY_TIMEOUT + 2 * OVERDUE_CHECK_INTERVAL;
    while !traffic.board.borrow().is_complete() && Instant::now() < until {
        if let Some(ended) = publishing.try_join_next() {
            return Err(ended.context("the publisher panicked")?).context("waiting for the last deliveries");
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn report(
    plan: &FanoutPlan,
    traffic: &FanoutTraffic,
    receivers_lost: u32,
    (deliveries, latency_us): (u64, LatencySummary),
    usage: Usage,
) -> anyhow::Result<FanoutReport> {
    let board = traffic.board.borrow();
    ensure!(deliveries > 0, "nothing was delivered in the measured time ({} other frames were)", board.other_frames);
    Ok(FanoutReport {
        receivers: plan.receivers,
        receivers_lost,
        bytes: traffic.template.render(0).len(),
        delivered_bytes: board.delivered_bytes,
        in_flight: plan.in_flight,
        rate: plan.rate,
        seconds: usage.elapsed.as_secs_f64(),
        deliveries,
        published: board.published(),
        lost: board.lost(),
        repeated: board.repeated,
        other_frames: board.other_frames,
        deliveries_per_second: usage.per_second(deliveries),
        deliveries_per_cpu_second: usage.per_server_second(deliveries),
        latency_us,
        server_cpu_us: usage.server_micros_per(deliveries),
        generator_cpu_us: usage.own_micros_per(deliveries),
    })
}

/// One receiver, until its connection ends.
async fn receive(mut connection: Connection, traffic: FanoutTraffic, publishers: usize) -> anyhow::Error {
    // Broadcast n comes from publisher n modulo their number: the next number expected from each.
    let mut expected = vec![0; publishers];
    let mut hint = 0;
    std::future::poll_fn(|cx| {
        loop {
            if let Err(error) = connection.poll_pending(cx) {
                return Poll::Ready(error);
            }
            let mut board = traffic.board.borrow_mut();
            let now = Instant::now();
            let read = connection.poll_messages(cx, &traffic.buffer, |payload| {
                let sequence = template::find_mark(payload, &mut hint);
                board.record_frame(sequence, payload.len(), &mut expected, now);
            });
            if let Err(error) = ready!(read) {
                return Poll::Ready(error);
            }
        }
    })
    .await
}

/// All publishers in one task: publishes whatever the board allows, whenever it wakes this task.
async fn publish(mut publishers: Vec<Connection>, traffic: FanoutTraffic, mut looks: Interval) -> anyhow::Error {
    let mut batches = vec![Vec::new(); publishers.len()];
    std::future::poll_fn(|cx| {
        while looks.poll_tick(cx).is_ready() {
            traffic.board.borrow_mut().expire_overdue(Instant::now());
        }
        match poll_publish(cx, &mut publishers, &traffic, &mut batches) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(error),
        }
    })
    .await
}

fn poll_publish(
    cx: &mut Context<'_>,
    publishers: &mut [Connection],
    traffic: &FanoutTraffic,
    batches: &mut [Vec<u8>],
) -> anyhow::Result<()> {
    let mut board = traffic.board.borrow_mut();
    board.wake_on_completion(cx.waker());
    let now = Instant::now();
    while let Some(sequence) = board.publish_next(now) {
        let text = traffic.template.render(sequence);
        let batch = &mut batches[sequence as usize % publishers.len()];
        websocket::write_frame(batch, opcode::TEXT, text.as_bytes());
    }
    for (publisher, batch) in publishers.iter_mut().zip(batches) {
        if !batch.is_empty() {
            publisher.send(batch)?;
            batch.clear();
        }
        publisher.poll_pending(cx)?;
        while let Poll::Ready(read) = publisher.poll_messages(cx, &traffic.buffer, |_| board.other_frames += 1) {
            read?;
        }
    }
    Ok(())
}
