//! TM-1 to TM-5: idle time and lifetime, on a compressed clock.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use futures_util::FutureExt as _;
use serde_json::Value;

use crate::conformance::client::{ConformanceClient, ReceivedItem};
use crate::conformance::row::{ConformanceRow, EvidenceLevel::*, SAME_BEHAVIOR};
use crate::conformance::spec::ApiSpec;
use crate::conformance::world::{Api, CaseWorld};

/// What the ten minutes are here.
const IDLE: Duration = Duration::from_millis(800);
/// How often something has to happen to stay open: with room for a machine that is busy.
const OFTEN: Duration = Duration::from_millis(200);
/// How often a machine may come to a halt before it is too busy to show anything.
const HALTS: u32 = 5;
/// How much later than its time an end may come on a machine that is busy.
const LATE: Duration = Duration::from_secs(1);
/// What the two hours are where they do not matter.
const LONG: Duration = Duration::from_secs(60);

pub(super) const ROWS: &[ConformanceRow] = &[
    ConformanceRow::holds(
        "TM-1",
        Reported,
        "A message in either direction, a post included, starts the idle time anew.",
        "the same; here the ten minutes are 800 ms",
        |world| both_directions(world).boxed(),
    ),
    ConformanceRow::holds(
        "TM-2",
        Reported,
        "A real idle connection was closed 603.9 s after it began.",
        "not before the idle time, and soon after it; here the ten minutes are 800 ms",
        |world| not_before(world).boxed(),
    ),
    ConformanceRow::holds(
        "TM-3",
        Documented,
        "The 2 hours count from the connect and traffic does not extend them.",
        "the same; here the 2 hours are 1.5 s",
        |world| lifetime_counts(world).boxed(),
    ),
    ConformanceRow::holds(
        "TM-4",
        Reported,
        "A message every 9 minutes and 30 seconds keeps a connection open.",
        "the same; here the ten minutes are 800 ms, and there is a message every 200 ms",
        |world| keep_alive(world).boxed(),
    ),
    ConformanceRow::holds("TM-5", Documented, "`lastActiveAt` moves with activity.", SAME_BEHAVIOR, |world| {
        last_active(world).boxed()
    }),
];

/// Lets time pass: what is measured is what the gateway does in it.
async fn pass(time: Duration) {
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

/// What keeps a connection open.
#[derive(Clone, Copy)]
enum Activity {
    /// A message of the client that has no answer.
    Message,
    /// A post to the connection.
    Post,
    /// A message and its answer.
    Exchange,
}

impl Activity {
    async fn act(self, api: &Api, client: &mut ConformanceClient, id: &str) -> anyhow::Result<()> {
        match self {
            Self::Message => client.send_text("hello").await,
            Self::Exchange => client.expect_no_reply().await,
            Self::Post => {
                ensure!(api.post(id, "hello").await?.head.status == 200, "the connection is gone");
                client.text().await.map(drop)
            }
        }
    }
}

async fn both_directions(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::compressed(IDLE, LONG)).await?;
    stays_open(&api, Activity::Message).await?;
    stays_open(&api, Activity::Post).await
}

/// Checks that posts to a connection keep it open.
pub(super) async fn posts_keep_open(world: &CaseWorld) -> anyhow::Result<()> {
    stays_open(&world.api(ApiSpec::compressed(IDLE, LONG)).await?, Activity::Post).await
}

/// Checks that `activity`, again and again within the idle time, keeps a connection open beyond it. Where the machine came to a
/// halt for as long as the idle time, nothing was shown, and it is tried again.
async fn stays_open(api: &Api, activity: Activity) -> anyhow::Result<()> {
    let mut halts = 0;
    loop {
        let (mut client, id) = api.connect_with_id().await?;
        let mut pauses = Pauses::set_start();
        let outcome = repeat(api, &mut client, &id, activity, &mut pauses).await;
        pauses.note();
        if outcome.is_ok() || pauses.longest < IDLE || halts == HALTS {
            return outcome;
        }
        halts += 1;
    }
}

async fn repeat(
    api: &Api,
    client: &mut ConformanceClient,
    id: &str,
    activity: Activity,
    pauses: &mut Pauses,
) -> anyhow::Result<()> {
    for _ in 0..8 {
        pass(OFTEN).await;
        pauses.note();
        activity.act(api, client, id).await?;
    }
    client.expect_no_reply().await
}

/// How long the gateway may have seen nothing: from the beginning of one activity to the end of the next.
struct Pauses {
    last: [Instant; 2],
    longest: Duration,
}

impl Pauses {
    fn set_start() -> Self {
        Self { last: [Instant::now(); 2], longest: Duration::ZERO }
    }

    /// Notes that an activity has ended, if there was one, and the next begins.
    fn note(&mut self) {
        let now = Instant::now();
        self.longest = self.longest.max(now - self.last[0]);
        self.last = [self.last[1], now];
    }
}

async fn not_before(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::compressed(IDLE, LONG)).await?;
    let begun = Instant::now();
    let mut client = api.connect().await?;
    let open = Instant::now();
    let ended = ends_after(&mut client, begun).await?;
    ensure!(ended >= IDLE, "closed {ended:?} after the handshake began, before the idle time of {IDLE:?}");
    let late = open.elapsed();
    ensure!(late <= IDLE + LATE, "closed {late:?} after the handshake");
    Ok(())
}

async fn lifetime_counts(world: &CaseWorld) -> anyhow::Result<()> {
    let lifetime = Duration::from_millis(1500);
    let api = world.api(ApiSpec::compressed(LONG, lifetime)).await?;
    let mut client = api.connect().await?;
    let open = Instant::now();
    for _ in 0..4 {
        client.expect_no_reply().await?;
        pass(lifetime / 6).await;
    }
    let ended = ends_after(&mut client, open).await?;
    ensure!(ended <= lifetime + LATE, "traffic extended the lifetime to {ended:?}");
    Ok(())
}

async fn keep_alive(world: &CaseWorld) -> anyhow::Result<()> {
    let api = world.api(ApiSpec::compressed(IDLE, LONG)).await?;
    stays_open(&api, Activity::Exchange).await
}

async fn last_active(world: &CaseWorld) -> anyhow::Result<()> {
    world.require_signed_calls()?;
    let api = world.standard().await?;
    let (mut client, id) = api.connect_with_id().await?;
    let before = described(&api, &id).await?;
    let mut last = before.clone();
    for activity in [Activity::Exchange, Activity::Post] {
        last = moves_on(&api, &mut client, &id, activity, &last).await?;
    }
    ensure!(before["connectedAt"] == last["connectedAt"], "connectedAt moved");
    Ok(())
}

/// Repeats `activity` until `lastActiveAt` is later than in `before`: the clock may not have moved on at once.
async fn moves_on(
    api: &Api,
    client: &mut ConformanceClient,
    id: &str,
    activity: Activity,
    before: &Value,
) -> anyhow::Result<Value> {
    let time = |value: &Value| value["lastActiveAt"].as_str().unwrap_or_default().to_owned();
    let begun = Instant::now();
    loop {
        activity.act(api, client, id).await?;
        let after = described(api, id).await?;
        // ISO 8601 in UTC with a fixed number of digits sorts like the times it stands for.
        if time(&after) > time(before) {
            return Ok(after);
        }
        ensure!(begun.elapsed() < api.case_timeout(), "lastActiveAt stayed at {:?}", time(before));
    }
}

async fn described(api: &Api, id: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&api.describe(id).await?.body)?)
}
