//! Fan-out scenario: publishers keep a number of broadcasts in flight, receivers count the deliveries.
//!
//! Every broadcast has a sequence number in its text, so deliveries are counted exactly whatever envelope the server
//! adds and whatever else it sends. The next broadcast is published when one has reached every receiver or has
//! expired, and at a fixed rate not before it is due; at the end the generator waits for late deliveries before it
//! counts a delivery as lost.

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

/// Minimum frequency of the check for overdue broadcasts.
const OVERDUE_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Plan of a run.
#[derive(clap::Args, Clone)]
pub struct FanoutPlan {
    #[command(flatten)]
    options: DialOptions,
    /// Number of receivers, connected to --url
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    receivers: u32,
    /// First frame of a receiver, for example to subscribe
    #[arg(long)]
    subscribe_frame: Option<String>,
    /// Text of the frame that marks a receiver as ready
    #[arg(long)]
    subscribed_marker: Option<String>,
    /// Publishers send the first frame as well, and wait for its reply
    #[arg(long)]
    publishers_subscribe: bool,
    /// Number of publishing connections
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    publishers: u32,
    /// URL that publishers connect to (default: --url)
    #[arg(long)]
    publish_url: Option<String>,
    /// File with the publishers' tokens (default: the receivers' tokens)
    #[arg(long)]
    publish_token_file: Option<PathBuf>,
    /// Published text: `{seq}` is its number and is required, `{pad}` fills it up to --bytes, `{run}` is unique to
    /// this run
    #[arg(long, default_value = "{seq}{pad}")]
    publish_frame: String,
    /// Bytes of a broadcast
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    bytes: u32,
    /// Broadcasts in flight at the same time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    in_flight: u32,
    /// Broadcasts per second, evenly spaced; latencies are then measured from the scheduled time (default: as many as
    /// --in-flight allows)
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: Option<u32>,
    /// Length of the measured window in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Length of the warm-up in seconds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up: u64,
}

/// Results. CPU times are per delivery, in microseconds.
#[derive(Debug, Deserialize, Serialize)]
pub struct FanoutReport {
    /// Receivers at the start.
    pub receivers: u32,
    /// Receivers whose connection ended before the run; their missing deliveries count as lost.
    pub receivers_lost: u32,
    /// Bytes of a broadcast as published.
    pub bytes: usize,
    /// Bytes of a frame as delivered.
    pub delivered_bytes: usize,
    /// Broadcasts in flight at the same time.
    pub in_flight: u32,
    /// Scheduled broadcasts per second, if the rate is fixed.
    pub rate: Option<u32>,
    /// Length of the measured window in seconds.
    pub seconds: f64,
    /// Deliveries in the window.
    pub deliveries: u64,
    /// Broadcasts in the whole run; every receiver should have one delivery of each.
    pub published: u64,
    /// Missing deliveries in the whole run, exact.
    pub lost: u64,
    /// Deliveries that repeat or follow a later one of the same publisher, in the whole run.
    pub repeated: u64,
    /// Frames without a sequence number: replies, notifications, errors.
    pub other_frames: u64,
    /// Deliveries per second.
    pub deliveries_per_second: f64,
    /// Deliveries per second of the server's CPU time.
    pub deliveries_per_cpu_second: Option<f64>,
    /// Time from publishing to reading at a receiver.
    pub latency_us: LatencySummary,
    /// CPU time of the server per delivery.
    pub server_cpu_us: Option<f64>,
    /// CPU time of this generator per delivery.
    pub generator_cpu_us: f64,
}

/// State shared by all connections; no lock, because there is one thread.
#[derive(Clone)]
struct FanoutTraffic {
    tracker: Rc<RefCell<DeliveryTracker>>,
    buffer: ReadBuffer,
    template: Rc<Template>,
}

/// Runs the plan.
///
/// # Errors
/// A connection cannot be opened, a publisher's connection ends, or nothing is delivered.
pub async fn run(plan: &FanoutPlan) -> anyhow::Result<FanoutReport> {
    let template = Rc::new(Template::new(&plan.publish_frame, plan.bytes as usize));
    ensure!(template.is_numbered(), "--publish-frame needs a `{{seq}}` to identify deliveries");
    let tracker = Rc::new(RefCell::new(DeliveryTracker::new(plan.receivers, plan.publishers, plan.in_flight as usize)));
    let traffic = FanoutTraffic { tracker, buffer: ReadBuffer::new(), template };
    let mut receivers = open_receivers(plan, &traffic).await?;
    let publishers = open_publishers(plan, &traffic.buffer).await?;
    let period = plan.rate.map(|rate| Duration::from_secs(1) / rate);
    if let Some(period) = period {
        traffic.tracker.borrow_mut().set_schedule(period, Instant::now());
    }
    let overdue_checks = interval(period.unwrap_or(OVERDUE_CHECK_INTERVAL).min(OVERDUE_CHECK_INTERVAL));
    let mut publishing = JoinSet::new();
    publishing.spawn_local(publish(publishers, traffic.clone(), overdue_checks));

    run_publishers(&mut publishing, plan.warm_up).await?;
    let delivered_before = traffic.tracker.borrow_mut().start_window();
    let window = Window::open(plan.options.server_pid)?;
    run_publishers(&mut publishing, plan.seconds).await?;
    let usage = window.close()?;
    let delivered = traffic.tracker.borrow().deliveries - delivered_before;
    let latency = traffic.tracker.borrow().latencies.summary();

    traffic.tracker.borrow_mut().stop_publishing();
    wait_for_overdue(&traffic, &mut publishing).await?;
    let mut lost = 0;
    while receivers.try_join_next().is_some() {
        lost += 1;
    }
    report(plan, &traffic, lost, (delivered, latency), usage)
}

/// Runs the publishers for some seconds; one that ends invalidates the measurement.
async fn run_publishers(publishing: &mut JoinSet<anyhow::Error>, seconds: u64) -> anyhow::Result<()> {
    match timeout(Duration::from_secs(seconds), publishing.join_next()).await {
        Err(_) | Ok(None) => Ok(()),
        Ok(Some(ended)) => Err(ended.context("the publisher panicked")?).context("publishing"),
    }
}

/// Waits until every broadcast is complete or overdue. The publishing task expires overdue ones at its next check.
async fn wait_for_overdue(traffic: &FanoutTraffic, publishing: &mut JoinSet<anyhow::Error>) -> anyhow::Result<()> {
    let until = Instant::now() + DELIVERY_TIMEOUT + 2 * OVERDUE_CHECK_INTERVAL;
    while !traffic.tracker.borrow().is_complete() && Instant::now() < until {
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
    let tracker = traffic.tracker.borrow();
    ensure!(deliveries > 0, "nothing was delivered in the measured time ({} other frames were)", tracker.other_frames);
    Ok(FanoutReport {
        receivers: plan.receivers,
        receivers_lost,
        bytes: traffic.template.render(0).len(),
        delivered_bytes: tracker.delivered_bytes,
        in_flight: plan.in_flight,
        rate: plan.rate,
        seconds: usage.elapsed.as_secs_f64(),
        deliveries,
        published: tracker.published(),
        lost: tracker.lost(),
        repeated: tracker.repeated,
        other_frames: tracker.other_frames,
        deliveries_per_second: usage.per_second(deliveries),
        deliveries_per_cpu_second: usage.per_server_second(deliveries),
        latency_us,
        server_cpu_us: usage.server_micros_per(deliveries),
        generator_cpu_us: usage.own_micros_per(deliveries),
    })
}

/// Runs one receiver until its connection ends.
async fn receive(mut connection: Connection, traffic: FanoutTraffic, publishers: usize) -> anyhow::Error {
    // Broadcast n is sent by publisher n modulo their number: the next expected number of each.
    let mut expected = vec![0; publishers];
    let mut hint = 0;
    std::future::poll_fn(|cx| {
        loop {
            if let Err(error) = connection.poll_pending(cx) {
                return Poll::Ready(error);
            }
            let mut tracker = traffic.tracker.borrow_mut();
            let now = Instant::now();
            let read = connection.poll_messages(cx, &traffic.buffer, |payload| {
                let sequence = template::find_mark(payload, &mut hint);
                tracker.record_frame(sequence, payload.len(), &mut expected, now);
            });
            if let Err(error) = ready!(read) {
                return Poll::Ready(error);
            }
        }
    })
    .await
}

/// Runs all publishers in one task: publishes whatever the tracker allows, whenever the tracker wakes this task.
async fn publish(
    mut publishers: Vec<Connection>,
    traffic: FanoutTraffic,
    mut overdue_checks: Interval,
) -> anyhow::Error {
    let mut batches = vec![Vec::new(); publishers.len()];
    std::future::poll_fn(|cx| {
        while overdue_checks.poll_tick(cx).is_ready() {
            traffic.tracker.borrow_mut().expire_overdue(Instant::now());
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
    let mut tracker = traffic.tracker.borrow_mut();
    tracker.wake_on_completion(cx.waker());
    let now = Instant::now();
    while let Some(sequence) = tracker.publish_next(now) {
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
        while let Poll::Ready(read) = publisher.poll_messages(cx, &traffic.buffer, |_| tracker.other_frames += 1) {
            read?;
        }
    }
    Ok(())
}
