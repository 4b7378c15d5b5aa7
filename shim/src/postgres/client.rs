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

use super::error::{PostgresClientError, PostgresErrorClass, classify_error};
use super::health_check::PrimaryCheck;
use super::metrics::PostgresMetrics;
use super::preflight::{self, PostgresStartupError};
use super::settings::PostgresSettings;
use crate::breaker::{self, CircuitBreaker, LinkState};

/// How often a statement is tried again, within its deadline.
const MAX_STATEMENT_RETRIES: usize = 4;
/// The pause before the first repeat; it doubles, with jitter.
const FIRST_STATEMENT_RETRY_DELAY: Duration = Duration::from_millis(10);
/// How long a connection may be idle, so that a quiet night gives the server its memory back.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// A statement, with the schema in it.
pub(super) type SqlStatement = Arc<str>;

/// The link; clones share it. It ends, with its background task, when the last clone is dropped.
#[derive(Clone)]
pub struct PostgresClient {
    inner: Arc<PostgresClientInner>,
    _monitor: Arc<AbortOnDropHandle<()>>,
}

/// What the link and its monitor share.
pub(super) struct PostgresClientInner {
    pub(super) settings: PostgresSettings,
    pub(super) breaker: CircuitBreaker,
    pub(super) metrics: PostgresMetrics,
    pool: PgPool,
    last_loss: LastConnectionLoss,
}

/// When a connection was last lost.
#[derive(Clone, Default)]
struct LastConnectionLoss(Arc<Mutex<Option<Instant>>>);

impl LastConnectionLoss {
    fn record_loss(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Whether a connection of that age is younger than the loss.
    fn is_newer_than_loss(&self, connection: &PoolConnectionMetadata) -> bool {
        self.0.lock().is_none_or(|lost| lost.elapsed() > connection.age)
    }
}

impl PostgresClient {
    /// Connects, checks what answers, and makes what is missing in the schema.
    ///
    /// # Errors
    /// [`StartError`], which says what to change.
    pub async fn connect(settings: PostgresSettings) -> Result<Self, PostgresStartupError> {
        let options = preflight::connect_options(&settings).await?;
        preflight::run_preflight(&settings, &options).await?;
        let lost = LastConnectionLoss::default();
        let pool = build_pool(&settings, options, lost.clone());
        let (breaker, metrics) = (CircuitBreaker::new(), PostgresMetrics::default());
        let core = Arc::new(PostgresClientInner { settings, breaker, metrics, pool, last_loss: lost });
        let task =
            TaskTracker::new().spawn(breaker::monitor_health(core.breaker.clone(), PrimaryCheck::new(core.clone())));
        Ok(Self { inner: core, _monitor: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// Whether PostgreSQL answers, as it changes.
    #[must_use]
    pub fn link_state(&self) -> watch::Receiver<LinkState> {
        self.inner.breaker.watch_state()
    }

    /// What the link and the log above it count; register it once.
    #[must_use]
    pub fn metrics(&self) -> &PostgresMetrics {
        &self.inner.metrics
    }

    /// A statement in which `{schema}` is replaced by the schema's name.
    pub(super) fn schema_statement(&self, text: &str) -> SqlStatement {
        text.replace("{schema}", &format!("\"{}\"", self.inner.settings.schema)).into()
    }

    /// Runs a statement that may be repeated, and returns all its rows.
    pub(super) async fn fetch_rows(
        &self,
        statement: &SqlStatement,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, PostgresClientError> {
        let core = &self.inner;
        if !core.breaker.is_closed() {
            return Err(PostgresClientError::CircuitOpen);
        }
        let deadline = Instant::now() + core.settings.operation_timeout();
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_STATEMENT_RETRY_DELAY)
            .with_max_times(MAX_STATEMENT_RETRIES)
            .with_jitter();
        let again = |trouble: &PostgresClientError| {
            core.breaker.is_closed() && trouble.is_transient() && Instant::now() < deadline
        };
        (|| core.run_statement(statement, arguments.clone(), deadline)).retry(pauses).when(again).await
    }
}

impl PostgresClientInner {
    /// Runs a statement once.
    pub(super) async fn run_statement(
        &self,
        statement: &SqlStatement,
        arguments: PgArguments,
        deadline: Instant,
    ) -> Result<Vec<PgRow>, PostgresClientError> {
        let outcome = self.query_once(statement, arguments, deadline).await;
        match &outcome {
            Ok(_) => self.breaker.record_success(),
            Err(trouble) => self.record_error(trouble),
        }
        outcome
    }

    async fn query_once(
        &self,
        statement: &SqlStatement,
        arguments: PgArguments,
        deadline: Instant,
    ) -> Result<Vec<PgRow>, PostgresClientError> {
        let acquired = timeout_at(deadline, self.pool.acquire()).await.map_err(|_| PostgresClientError::Timeout)?;
        let mut connection = acquired?;
        let end = deadline.min(Instant::now() + self.settings.response_timeout);
        let query = sqlx::query_with::<Driver, _>(AssertSqlSafe(statement.clone()), arguments);
        let answer = timeout_at(end, query.fetch_all(&mut *connection)).await;
        let useless = match &answer {
            Err(_) => true,
            Ok(answer) => answer.as_ref().is_err_and(|error| classify_error(error) == PostgresErrorClass::Connection),
        };
        if useless {
            // An answer that comes later must not be the next statement's.
            connection.close_on_drop();
            self.last_loss.record_loss();
        }
        Ok(answer.map_err(|_| PostgresClientError::Timeout)??)
    }

    /// Has every connection that there is now replaced before it is used again.
    pub(super) fn replace_connections(&self) {
        self.last_loss.record_loss();
    }

    /// A server that refuses, or whose transactions meet each other, is there.
    fn record_error(&self, trouble: &PostgresClientError) {
        self.metrics.failed_statements.inc();
        if trouble.is_transient() && !trouble.is_conflict() {
            self.breaker.record_failure();
        } else {
            self.breaker.record_success();
        }
    }
}

fn build_pool(settings: &PostgresSettings, options: PgConnectOptions, lost: LastConnectionLoss) -> PgPool {
    let timeout = settings.response_timeout;
    PgPoolOptions::new()
        .max_connections(settings.pool_size)
        .acquire_timeout(settings.connect_timeout)
        .idle_timeout(IDLE_CONNECTION_TIMEOUT)
        // A question before every statement would double its round trips.
        .test_before_acquire(false)
        .before_acquire(move |_, connection| {
            let spared = lost.is_newer_than_loss(&connection);
            Box::pin(async move { Ok(spared) })
        })
        .after_connect(move |connection, _| Box::pin(configure_connection(connection, timeout)))
        .connect_lazy_with(options)
}

/// What every connection is told first: to end what takes too long, to see what was committed before each statement, and
/// never to acknowledge a message before it is durable.
async fn configure_connection(connection: &mut PgConnection, timeout: Duration) -> Result<(), sqlx::Error> {
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
