//! The link: a pool of connections, a breaker, and statements that are repeated within one deadline.
//!
//! After a connection was lost, every older one is replaced before it is used: what broke one has mostly broken all.

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use parking_lot::Mutex;
use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres as Driver};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::check::{self, StartError};
use super::metrics::PostgresMetrics;
use super::monitor::Leads;
use super::settings::PostgresSettings;
use super::trouble::{PostgresTrouble, Verdict, verdict};
use crate::breaker::{self, Breaker, LinkState};

/// How often a statement is tried again, within its deadline.
const REPEATS: usize = 4;
/// The pause before the first repeat; it doubles, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// How long a connection may be idle, so that a quiet night gives the server its memory back.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// A statement, with the schema in it.
pub(super) type Statement = Arc<str>;

/// The link; clones share it. It ends, with its background task, when the last clone is dropped.
#[derive(Clone)]
pub struct Postgres {
    core: Arc<Core>,
    _monitor: Arc<AbortOnDropHandle<()>>,
}

/// What the link and its monitor share.
pub(super) struct Core {
    pub(super) settings: PostgresSettings,
    pub(super) breaker: Breaker,
    pub(super) metrics: PostgresMetrics,
    pool: PgPool,
    lost: LastLoss,
}

/// When a connection was last lost.
#[derive(Clone, Default)]
struct LastLoss(Arc<Mutex<Option<Instant>>>);

impl LastLoss {
    fn note(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether a connection of that age is younger than the loss.
    fn spared(&self, connection: &PoolConnectionMetadata) -> bool {
        self.0.lock().is_none_or(|lost| lost.elapsed() > connection.age)
    }
}

impl Postgres {
    /// Connects, checks what answers, and makes what is missing in the schema.
    ///
    /// # Errors
    /// [`StartError`], which says what to change.
    pub async fn connect(settings: PostgresSettings) -> Result<Self, StartError> {
        let options = check::options(&settings).await?;
        check::check(&settings, &options).await?;
        let lost = LastLoss::default();
        let pool = pool(&settings, options, lost.clone());
        let (breaker, metrics) = (Breaker::new(), PostgresMetrics::default());
        let core = Arc::new(Core { settings, breaker, metrics, pool, lost });
        let task = TaskTracker::new().spawn(breaker::monitor(core.breaker.clone(), Leads::new(core.clone())));
        Ok(Self { core, _monitor: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// Whether PostgreSQL answers, as it changes.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.core.breaker.watch()
    }

    /// What the link and the log above it count; register it once.
    #[must_use]
    pub fn metrics(&self) -> &PostgresMetrics {
        &self.core.metrics
    }

    /// A statement in which `{schema}` is replaced by the schema's name.
    pub(super) fn statement(&self, text: &str) -> Statement {
        text.replace("{schema}", &format!("\"{}\"", self.core.settings.schema)).into()
    }

    /// Runs a statement that may be repeated, and returns all its rows.
    pub(super) async fn fetch(
        &self,
        statement: &Statement,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, PostgresTrouble> {
        let core = &self.core;
        if !core.breaker.is_closed() {
            return Err(PostgresTrouble::Away);
        }
        let deadline = Instant::now() + core.settings.deadline();
        let pauses = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(REPEATS).with_jitter();
        let again =
            |trouble: &PostgresTrouble| core.breaker.is_closed() && trouble.is_transient() && Instant::now() < deadline;
        (|| core.attempt(statement, arguments.clone(), deadline)).retry(pauses).when(again).await
    }
}

impl Core {
    /// Runs a statement once.
    pub(super) async fn attempt(
        &self,
        statement: &Statement,
        arguments: PgArguments,
        deadline: Instant,
    ) -> Result<Vec<PgRow>, PostgresTrouble> {
        let outcome = self.ask(statement, arguments, deadline).await;
        match &outcome {
            Ok(_) => self.breaker.succeeded(),
            Err(trouble) => self.failed(trouble),
        }
        outcome
    }

    async fn ask(
        &self,
        statement: &Statement,
        arguments: PgArguments,
        deadline: Instant,
    ) -> Result<Vec<PgRow>, PostgresTrouble> {
        let acquired = timeout_at(deadline, self.pool.acquire()).await.map_err(|_| PostgresTrouble::Late)?;
        let mut connection = acquired?;
        let end = deadline.min(Instant::now() + self.settings.response_timeout);
        let query = sqlx::query_with::<Driver, _>(AssertSqlSafe(statement.clone()), arguments);
        let answer = timeout_at(end, query.fetch_all(&mut *connection)).await;
        let useless = match &answer {
            Err(_) => true,
            Ok(answer) => answer.as_ref().is_err_and(|error| verdict(error) == Verdict::Connection),
        };
        if useless {
            // An answer that comes later must not be the next statement's.
            connection.close_on_drop();
            self.lost.note();
        }
        Ok(answer.map_err(|_| PostgresTrouble::Late)??)
    }

    /// Has every connection that there is now replaced before it is used again.
    pub(super) fn discard_connections(&self) {
        self.lost.note();
    }

    /// A server that refuses, or whose transactions meet each other, is there.
    fn failed(&self, trouble: &PostgresTrouble) {
        self.metrics.failures.inc();
        if trouble.is_transient() && !trouble.is_conflict() {
            self.breaker.failed();
        } else {
            self.breaker.succeeded();
        }
    }
}

fn pool(settings: &PostgresSettings, options: PgConnectOptions, lost: LastLoss) -> PgPool {
    let timeout = settings.response_timeout;
    PgPoolOptions::new()
        .max_connections(settings.pool_size)
        .acquire_timeout(settings.connect_timeout)
        .idle_timeout(IDLE)
        // A question before every statement would double its round trips.
        .test_before_acquire(false)
        .before_acquire(move |_, connection| {
            let spared = lost.spared(&connection);
            Box::pin(async move { Ok(spared) })
        })
        .after_connect(move |connection, _| Box::pin(prepare(connection, timeout)))
        .connect_lazy_with(options)
}

/// What every connection is told first: to end what takes too long, to see what was committed before each statement, and
/// never to acknowledge a message before it is durable.
async fn prepare(connection: &mut PgConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    let told = sqlx::query(
        "SELECT set_config('statement_timeout', $1, false), \
         set_config('default_transaction_isolation', 'read committed', false), \
         set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
         ELSE current_setting('synchronous_commit') END, false)",
    );
    told.bind(timeout.as_millis().to_string()).execute(connection).await.map(drop)
}

/// Makes one connection outside of a pool, for the checks at the start.
pub(super) async fn connect_once(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect_with(options).await
}
