//! PostgreSQL client: a connection pool, a circuit breaker, and retries within one deadline per operation.
//!
//! After the loss of a connection every older connection is replaced before its next use, because a server restart or a
//! failover breaks all of them.

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
use crate::host_watch::HostWatch;

/// Maximum number of retries of a statement within its deadline.
const MAX_STATEMENT_RETRIES: usize = 4;
/// Delay before the first retry; it doubles with each retry, with jitter.
const FIRST_STATEMENT_RETRY_DELAY: Duration = Duration::from_millis(10);
/// Idle time after which a connection is closed, which frees memory of the server.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Text of a statement with the name of the schema.
pub(super) type SqlStatement = Arc<str>;

/// Client of one database; clones share the pool. Dropping the last clone closes it and ends its background tasks.
#[derive(Clone)]
pub struct PostgresClient {
    inner: Arc<PostgresClientInner>,
    _tasks: Arc<[AbortOnDropHandle<()>]>,
}

/// State shared by the client and its health monitor.
pub(super) struct PostgresClientInner {
    pub(super) settings: PostgresSettings,
    pub(super) breaker: CircuitBreaker,
    pub(super) metrics: PostgresMetrics,
    pool: PgPool,
    last_loss: LastConnectionLoss,
}

/// Time of the last connection loss.
#[derive(Clone, Default)]
struct LastConnectionLoss(Arc<Mutex<Option<Instant>>>);

impl LastConnectionLoss {
    fn record_loss(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Returns whether the connection was established after the last loss.
    fn is_newer_than_loss(&self, connection: &PoolConnectionMetadata) -> bool {
        self.0.lock().is_none_or(|lost| lost.elapsed() > connection.age)
    }
}

impl PostgresClient {
    /// Connects, checks the server, and creates missing objects in the schema.
    ///
    /// # Errors
    /// [`PostgresStartupError`], whose text contains the remedy.
    pub async fn connect(settings: PostgresSettings) -> Result<Self, PostgresStartupError> {
        let options = preflight::connect_options(&settings)?;
        preflight::run_preflight(&settings, &options).await?;
        let is_socket = options.get_socket().is_some() || options.get_host().starts_with('/');
        let host_watch = if is_socket { None } else { HostWatch::new(options.get_host(), options.get_port()) };
        let last_loss = LastConnectionLoss::default();
        let pool = build_pool(&settings, options, last_loss.clone());
        let (breaker, metrics) = (CircuitBreaker::new(), PostgresMetrics::default());
        let inner = Arc::new(PostgresClientInner { settings, breaker, metrics, pool, last_loss });
        let tracker = TaskTracker::new();
        let monitor = tracker.spawn(breaker::monitor_health(inner.breaker.clone(), PrimaryCheck::new(inner.clone())));
        let host_watch = host_watch.map(|watch| tracker.spawn(follow_host(watch, inner.clone())));
        let tasks = std::iter::once(monitor).chain(host_watch).map(AbortOnDropHandle::new).collect();
        Ok(Self { inner, _tasks: tasks })
    }

    /// Returns a receiver of the availability of PostgreSQL.
    #[must_use]
    pub fn link_state(&self) -> watch::Receiver<LinkState> {
        self.inner.breaker.watch_state()
    }

    /// Returns the counters of the client and the log, to be registered once.
    #[must_use]
    pub fn metrics(&self) -> &PostgresMetrics {
        &self.inner.metrics
    }

    /// Returns the statement with `{schema}` replaced by the name of the schema.
    pub(super) fn schema_statement(&self, text: &str) -> SqlStatement {
        text.replace("{schema}", &format!("\"{}\"", self.inner.settings.schema)).into()
    }

    /// Runs an idempotent statement, with retries, and returns all its rows.
    pub(super) async fn fetch_rows(
        &self,
        statement: &SqlStatement,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, PostgresClientError> {
        let inner = &self.inner;
        if !inner.breaker.is_closed() {
            return Err(PostgresClientError::CircuitOpen);
        }
        let deadline = Instant::now() + inner.settings.operation_timeout();
        let delays = ExponentialBuilder::default()
            .with_min_delay(FIRST_STATEMENT_RETRY_DELAY)
            .with_max_times(MAX_STATEMENT_RETRIES)
            .with_jitter();
        let retriable = |error: &PostgresClientError| {
            inner.breaker.is_closed() && error.is_transient() && Instant::now() < deadline
        };
        (|| inner.run_statement(statement, arguments.clone(), deadline)).retry(delays).when(retriable).await
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
        let result = self.query_once(statement, arguments, deadline).await;
        match &result {
            Ok(_) => self.breaker.record_success(),
            Err(error) => self.record_error(error),
        }
        result
    }

    async fn query_once(
        &self,
        statement: &SqlStatement,
        arguments: PgArguments,
        deadline: Instant,
    ) -> Result<Vec<PgRow>, PostgresClientError> {
        let acquired = timeout_at(deadline, self.pool.acquire()).await.map_err(|_| PostgresClientError::Timeout)?;
        let mut connection = acquired?;
        let response_deadline = deadline.min(Instant::now() + self.settings.response_timeout);
        let query = sqlx::query_with::<Driver, _>(AssertSqlSafe(statement.clone()), arguments);
        let response = timeout_at(response_deadline, query.fetch_all(&mut *connection)).await;
        let connection_lost = match &response {
            Err(_) => true,
            Ok(rows) => rows.as_ref().is_err_and(|error| classify_error(error) == PostgresErrorClass::Connection),
        };
        if connection_lost {
            // A late response on this connection must not be read as the response to the next statement.
            connection.close_on_drop();
            self.last_loss.record_loss();
        }
        Ok(response.map_err(|_| PostgresClientError::Timeout)??)
    }

    /// Marks all present connections to be replaced before their next use.
    pub(super) fn replace_connections(&self) {
        self.last_loss.record_loss();
    }

    /// Counts an error. Rejected statements and conflicts of transactions do not open the circuit breaker, because they
    /// prove that the server responds.
    fn record_error(&self, error: &PostgresClientError) {
        self.metrics.failed_statements.inc();
        if error.is_transient() && !error.is_conflict() {
            self.breaker.record_failure();
        } else {
            self.breaker.record_success();
        }
    }
}

fn build_pool(settings: &PostgresSettings, options: PgConnectOptions, last_loss: LastConnectionLoss) -> PgPool {
    let timeout = settings.response_timeout;
    PgPoolOptions::new()
        .max_connections(settings.pool_size)
        .acquire_timeout(settings.connect_timeout)
        .idle_timeout(IDLE_CONNECTION_TIMEOUT)
        // A test query before every statement would double the round trips.
        .test_before_acquire(false)
        .before_acquire(move |_, connection| {
            let usable = last_loss.is_newer_than_loss(&connection);
            Box::pin(async move { Ok(usable) })
        })
        .after_connect(move |connection, _| Box::pin(configure_connection(connection, timeout)))
        .connect_lazy_with(options)
}

/// Configures a new connection: the statement timeout, isolation level "read committed", and synchronous commits, so
/// that a message is durable before it is acknowledged.
async fn configure_connection(connection: &mut PgConnection, timeout: Duration) -> Result<(), sqlx::Error> {
    let query = sqlx::query(
        "SELECT set_config('statement_timeout', $1, false), \
         set_config('default_transaction_isolation', 'read committed', false), \
         set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
         ELSE current_setting('synchronous_commit') END, false)",
    );
    query.bind(timeout.as_millis().to_string()).execute(connection).await.map(drop)
}

/// Replaces all connections when the host name moves to another server, as after a switchover.
async fn follow_host(mut watch: HostWatch, client: Arc<PostgresClientInner>) {
    loop {
        watch.wait_moved().await;
        tracing::warn!("postgresql host name resolves to another server: reconnecting");
        client.replace_connections();
        client.breaker.request_check();
    }
}

/// Opens one connection outside of the pool, for the preflight.
pub(super) async fn connect_once(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    PgConnection::connect_with(options).await
}
