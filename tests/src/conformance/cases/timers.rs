//! TM-1 to TM-5: idle timeout and lifetime, with shorter times.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use futures_util::FutureExt as _;
use serde_json::Value;

use crate::conformance::client::{ConformanceClient, ReceivedItem};
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::{Api, CaseWorld};

/// Idle timeout in place of the ten minutes.
const IDLE: Duration = Duration::from_millis(800);
/// Interval between activities: well below the idle timeout, with a margin for a busy host.
const ACTIVITY_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum number of stalls of the host before a case gives up.
const MAX_STALLS: u32 = 5;
/// Maximum delay of a close on a busy host.
const MAX_CLOSE_DELAY: Duration = Duration::from_secs(1);
/// Lifetime in cases that do not test it.
const LONG_LIFETIME: Duration = Duration::from_secs(60);

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "TM-1",
        Reported,
        "A message in either direction, a post included, resets the idle timeout.",
        "the same; the case uses 800 ms",
        |world| both_directions(world).boxed(),
    ),
    ConformanceRow::holds(
        "TM-2",
        Reported,
        "A real idle connection was closed after 603.9 s.",
        "after the idle timeout, within a second; the case uses 800 ms",
        |world| idle_close_time(world).boxed(),
    ),
    ConformanceRow::holds(
        "TM-3",
        Documented,
        "The 2 hours count from the connect, and traffic does not extend them.",
        "the same; the case uses 1.5 s",
        |world| lifetime_counts(world).boxed(),
    ),
    ConformanceRow::holds(
        "TM-4",
        Reported,
        "A message every 9 minutes and 30 seconds keeps a connection open.",
        "the same; the case uses 800 ms with a message every 200 ms",
        |world| keep_alive(world).boxed(),
    ),
    ConformanceRow::holds("TM-5", Documented, "`lastActiveAt` changes with activity.", SAME_BEHAVIOR, |world| {
        last_active(world).boxed()
    }),
];

/// Sleeps; the case measures the gateway's behaviour in this time.
async fn wait(time: Duration) {
    tokio::time::sleep(time).await;
}

async fn ends_after(client: &mut ConformanceClient, since: Instant) -> anyhow::Result<Duration> {
    loop {
        match client.next().await? {
            ReceivedItem::Close(1001, _) => return Ok(since.elapsed()),
            ReceivedItem::Text(_) => {}
            other => bail!("expected 1001, got {other:?}"),
        }
    }
}

/// Activity that keeps a connection open.
#[derive(Clone, Copy)]
enum Activity {
    /// A message of the client without a reply.
    Message,
    /// A post to the connection.
    Post,
    /// A message and its reply.
    Exchange,
}

impl Activity {
    async fn run(self, api: &Api, client: &mut ConformanceClient, id: &str) -> anyhow::Result<()> {
        match self {
            Self::Message => client.send_text("hello").await,
            Self::Exchange => client.expect_no_reply().await,
            Self::Post => {
                ensure!(api.post(id, "hello").await?.head.status == 200, "the connection no longer exists");
                client.text().await.map(drop)
            }
        }
    }
}

async fn both_directions(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::with_timers(IDLE, LONG_LIFETIME)).await?;
    stays_open(&api, Activity::Message).await?;
    stays_open(&api, Activity::Post).await
}

/// Checks that posts to a connection keep it open.
pub(super) async fn posts_keep_open(world: &CaseWorld) -> anyhow::Result<()> {
    stays_open(&world.api(ApiSpec::with_timers(IDLE, LONG_LIFETIME)).await?, Activity::Post).await
}

/// Checks that `activity` at intervals within the idle timeout keeps a connection open beyond it. The check is
/// repeated if the host stalled for longer than the idle timeout.
async fn stays_open(api: &Api, activity: Activity) -> anyhow::Result<()> {
    let mut stalls = 0;
    loop {
        let (mut client, id) = api.connect_with_id().await?;
        let mut gaps = ActivityGaps::start();
        let outcome = repeat_activity(api, &mut client, &id, activity, &mut gaps).await;
        gaps.record();
        if outcome.is_ok() || gaps.longest < IDLE || stalls == MAX_STALLS {
            return outcome;
        }
        stalls += 1;
    }
}

async fn repeat_activity(
    api: &Api,
    client: &mut ConformanceClient,
    id: &str,
    activity: Activity,
    gaps: &mut ActivityGaps,
) -> anyhow::Result<()> {
    for _ in 0..8 {
        wait(ACTIVITY_INTERVAL).await;
        gaps.record();
        activity.run(api, client, id).await?;
    }
    client.expect_no_reply().await
}

/// Longest interval in which the gateway may have seen no activity: from the start of one activity to the end of the
/// next.
struct ActivityGaps {
    last: [Instant; 2],
    longest: Duration,
}

impl ActivityGaps {
    fn start() -> Self {
        Self { last: [Instant::now(); 2], longest: Duration::ZERO }
    }

    /// Records the end of an activity, if there was one, and the start of the next.
    fn record(&mut self) {
        let now = Instant::now();
        self.longest = self.longest.max(now - self.last[0]);
        self.last = [self.last[1], now];
    }
}

async fn idle_close_time(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::with_timers(IDLE, LONG_LIFETIME)).await?;
    let started = Instant::now();
    let mut client = api.connect().await?;
    let open = Instant::now();
    let ended = ends_after(&mut client, started).await?;
    ensure!(ended >= IDLE, "closed {ended:?} after the start of the handshake, before the idle timeout of {IDLE:?}");
    let late = open.elapsed();
    ensure!(late <= IDLE + MAX_CLOSE_DELAY, "closed {late:?} after the handshake");
    Ok(())
}

async fn lifetime_counts(world: &CaseWorld) -> anyhow::Result<()> {
    let lifetime = Duration::from_millis(1500);
    let api = world.api(ApiSpec::with_timers(LONG_LIFETIME, lifetime)).await?;
    let mut client = api.connect().await?;
    let open = Instant::now();
    for _ in 0..4 {
        client.expect_no_reply().await?;
        wait(lifetime / 6).await;
    }
    let ended = ends_after(&mut client, open).await?;
    ensure!(ended <= lifetime + MAX_CLOSE_DELAY, "traffic extended the lifetime to {ended:?}");
    Ok(())
}

async fn keep_alive(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::with_timers(IDLE, LONG_LIFETIME)).await?;
    stays_open(&api, Activity::Exchange).await
}

async fn last_active(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    let before = described(&api, &id).await?;
    let mut last = before.clone();
    for activity in [Activity::Exchange, Activity::Post] {
        last = wait_for_later_activity(&api, &mut client, &id, activity, &last).await?;
    }
    ensure!(before["connectedAt"] == last["connectedAt"], "connectedAt changed");
    Ok(())
}

/// Repeats `activity` until `lastActiveAt` is later than in `before`; the clock may have a low resolution.
async fn wait_for_later_activity(
    api: &Api,
    client: &mut ConformanceClient,
    id: &str,
    activity: Activity,
    before: &Value,
) -> anyhow::Result<Value> {
    let time = |value: &Value| value["lastActiveAt"].as_str().unwrap_or_default().to_owned();
    let started = Instant::now();
    loop {
        activity.run(api, client, id).await?;
        let after = described(api, id).await?;
        // ISO 8601 times in UTC with a fixed number of digits sort like the times.
        if time(&after) > time(before) {
            return Ok(after);
        }
        ensure!(started.elapsed() < api.case_timeout(), "lastActiveAt stayed at {:?}", time(before));
    }
}

async fn described(api: &Api, id: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&api.describe(id).await?.body)?)
}
