//! The scene of a run: pods, what is between them and Redis, clients, and a backend.
//!
//! Invariant: a run begins when everybody is connected, and ends when nobody is: every message acknowledged, every client
//! caught up, every pod stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::backend::{presence, push};
use super::ledger::Ledger;
use super::outcome::{Outcome, WAVE, WAVE_INTERVAL};
use super::participant::{Participant, Phase, Role};
use super::records::disconnects;
use super::{Cable, Fault, Plan};
use crate::client::Client;
use crate::client::http::Http;
use crate::fleet::{Fleet, durable_redis, pod};
use crate::server::{Exit, Launch, SECRET};
use crate::world::{Grant, sign};

/// How many pods there are.
const PODS: usize = 3;
/// How many members a room has.
const ROOM: usize = 10;
/// What everybody reads.
const TOPIC: &str = "topic:news";
/// How long between two messages to everybody, for each of them: 1,000 deliveries per second, whatever the size.
const TOPIC_PACE: Duration = Duration::from_millis(1);
/// How many clients connect per second at first: well below what three pods admit.
const ARRIVALS: u32 = 200;
/// How long anything may take that has to happen.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at the ledger.
const PAUSE: Duration = Duration::from_millis(50);

/// Everything that takes part.
pub(super) struct Stage {
    pub(super) fleet: Fleet,
    pub(super) cables: Vec<Cable>,
    /// Where the changes stand that Redis has lost.
    pub(super) lost: Vec<PathBuf>,
    ledger: Arc<Ledger>,
    phase: watch::Sender<Phase>,
    people: JoinSet<()>,
    plan: Plan,
    panicked: usize,
    /// The most lines with the same text that one pod logged as warnings or errors, by text.
    logged: BTreeMap<String, usize>,
}

/// Makes a scene, lets the fault happen in the middle of steady traffic, and sees what became of it.
///
/// # Errors
/// When it cannot be set up, or does not come to its end in time.
pub async fn run(plan: &Plan, fault: Fault) -> anyhow::Result<Outcome> {
    let mut stage = Stage::set(plan).await?;
    stage.talk().await.context("before the fault")?;
    let begun = Instant::now();
    let known = fault.strike(&mut stage, plan.full).await?;
    let lasted = begun.elapsed();
    stage.talk().await.context("behind the fault")?;
    let mut outcome = stage.end().await?;
    (outcome.fault, outcome.lasted_ms) = (fault, millis(lasted));
    outcome.presence_ms = known.into_iter().map(millis).collect();
    Ok(outcome)
}

impl Stage {
    async fn set(plan: &Plan) -> anyhow::Result<Self> {
        let redis = durable_redis()?;
        let mut cables = Vec::with_capacity(PODS);
        for _ in 0..PODS {
            cables.push(Cable::to(([127, 0, 0, 1], redis.port()).into())?);
        }
        let launches = cables.iter().map(|cable| launch(&format!("redis://{}", cable.address()))).collect();
        let fleet = Fleet::start(redis, launches).await?;
        let (phase, _) = watch::channel(Phase::Talk);
        let ledger = Arc::new(Ledger::default());
        let (lost, people, plan) = (Vec::new(), JoinSet::new(), plan.clone());
        let (panicked, logged) = (0, BTreeMap::new());
        let mut stage = Self { fleet, cables, lost, ledger, phase, people, plan, panicked, logged };
        stage.invite();
        Ok(stage)
    }

    fn invite(&mut self) {
        let begun = Instant::now();
        for number in 0..self.plan.connections {
            let begins = begun + Duration::from_secs(1) * u32::try_from(number).unwrap_or(u32::MAX) / ARRIVALS;
            let participant = Participant::new(self.role(number, begins), self.ledger.clone(), self.phase.subscribe());
            self.people.spawn(participant.run());
        }
        let pace = TOPIC_PACE * u32::try_from(self.plan.connections).unwrap_or(u32::MAX);
        let (ledger, phase) = (self.ledger.clone(), self.phase.subscribe());
        self.people.spawn(push(self.backend(), TOPIC.to_owned(), pace, ledger, phase));
    }

    fn role(&self, number: usize, begins: Instant) -> Role {
        let user = format!("p{number}");
        let dial = Client::dial(&self.fleet.socket_url(), &user).bearing(&sign(SECRET, &Grant::user(&user)));
        let (room, conversation) = (format!("room:{}", number / ROOM), format!("conversation:{user}"));
        let channels = vec![room.clone(), conversation.clone(), TOPIC.to_owned()];
        // Most of what is said is said to others.
        let targets = vec![room.clone(), room.clone(), room, conversation];
        Role { number, dial, channels, targets, pace: self.plan.pace, begins }
    }

    fn backend(&self) -> Http {
        self.fleet.http().bearing(sign(SECRET, &Grant::service("backend")))
    }

    /// Lets everybody talk until all are connected and each has been shown some messages since.
    async fn talk(&self) -> anyhow::Result<()> {
        self.until("everybody to be connected", |ledger| ledger.live_count() == self.plan.connections).await?;
        let enough = self.ledger.counts().shown + 5 * self.plan.connections as u64;
        self.until("messages to flow", |ledger| ledger.counts().shown >= enough).await
    }

    /// Waits until the application knows who is connected, and tells how long that took.
    pub(super) async fn presence_since(&self, begun: Instant) -> anyhow::Result<Duration> {
        let known = presence(&self.backend(), &self.ledger, begun, PATIENCE).await;
        known.context("the application never knew again who is connected")
    }

    /// From here on the past of channels may be lost.
    pub(super) fn may_lose(&self) {
        self.ledger.may_lose();
    }

    /// A pod's metric; 0 when there is none.
    pub(super) async fn metric(&self, pod: usize, name: &str) -> f64 {
        self.fleet.pods[pod].metric(name).await.unwrap_or_default()
    }

    /// Has the last messages acknowledged, lets everybody catch up and leave, and adds up.
    async fn end(mut self) -> anyhow::Result<Outcome> {
        self.phase.send_replace(Phase::Hush);
        self.until("the last acknowledgements", |ledger| ledger.counts().waiting == 0).await?;
        self.phase.send_replace(Phase::Leave);
        let left = async {
            while let Some(person) = self.people.join_next().await {
                person.context("a client panicked")?;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, left).await.context("waited too long for everybody to leave")??;
        let begun = Instant::now();
        while !self.fleet.records()?.is_empty() {
            ensure!(begun.elapsed() < PATIENCE, "records of connections are left: {:?}", self.fleet.records()?);
            sleep(PAUSE).await;
        }
        for exit in self.fleet.stop().await {
            self.notice(&exit);
        }
        let mut outcome = Outcome::of(&self.ledger, disconnects(&self.lost, &self.fleet.redis.changes()?)?);
        (outcome.connections, outcome.panics, outcome.logged) = (self.plan.connections, self.panicked, self.logged);
        outcome.judges_times = self.plan.full;
        (outcome.wave_size, outcome.wave_interval_ms) = (WAVE, millis(WAVE_INTERVAL));
        Ok(outcome)
    }

    /// Looks at what a pod has left.
    pub(super) fn notice(&mut self, exit: &Exit) {
        self.panicked += exit.stderr.matches("panicked").count();
        for (text, lines) in exit.warnings() {
            let most = self.logged.entry(text).or_default();
            *most = lines.max(*most);
        }
    }

    async fn until(&self, what: &str, holds: impl Fn(&Ledger) -> bool) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !holds(&self.ledger) {
            ensure!(
                begun.elapsed() < PATIENCE,
                "waited {PATIENCE:?} for {what}: {} connected, {:?}, {:?}",
                self.ledger.live_count(),
                self.ledger.counts(),
                self.ledger.messages()
            );
            sleep(PAUSE).await;
        }
        Ok(())
    }
}

fn launch(redis_url: &str) -> Launch {
    pod(redis_url).with("RUST_LOG", "info")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
