//! Pods without ports, and an application that counts invocations.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use gateway::api::WebSocketApi;
use gateway::close::CloseCause;
use gateway::event::{AuthorizerEvent, ConnectEvent, ConnectionFacts, DisconnectEvent, MessageEvent, RequestIdentity};
use gateway::id::GatewayId;
use gateway::reply::{IntegrationError, IntegrationReply};
use handlers::ports::Timestamp;
use serde_json::{Value, json};
use shim::access::AccessControl;
use shim::cluster::{Cluster, ClusterMetrics, NamespaceIdentity, ServerContext};
use shim::config::{ClusterConfig, Config, JournalConfig};
use shim::connection::{Connection, ConnectionIds, ConnectionLifecycle, ConnectionRegistry as _, DisconnectRetry};
use shim::drain::ConnectionDrain;
use shim::functions::{ApiFunctions, ApiIntegration, AuthorizerResult, IntegrationResult};
use shim::metrics::ShimMetrics;
use shim::readiness::{Readiness, ReadinessState};
use shim::redis::{RedisClient, RedisSettings};
use shim::server::{ApiServer, ApiServerParts};
use shim::session::{EventStamper, disconnect_owned};
use system_clock::SystemClock;
use tests::eventually::with_timeout;
use tests::redis::RedisServer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Lease duration that a busy host can sustain: ten heartbeats.
pub const LEASE: Duration = Duration::from_secs(2);

/// State shared by the handlers of all pods: the statuses of each connection's `$disconnect` invocations.
#[derive(Default)]
pub struct Application {
    runs: Mutex<HashMap<String, Vec<u64>>>,
    pub failing: AtomicBool,
}

impl Application {
    /// Returns the number of `$disconnect` invocations of a connection.
    pub fn runs(&self, id: GatewayId) -> usize {
        self.runs.lock().unwrap().get(id.as_str()).map_or(0, Vec::len)
    }

    /// Returns the number of connections with a `$disconnect` invocation.
    pub fn finished(&self) -> usize {
        self.runs.lock().unwrap().len()
    }

    /// Returns the status of a connection's first `$disconnect`.
    pub fn status(&self, id: GatewayId) -> u64 {
        self.runs.lock().unwrap()[id.as_str()][0]
    }
}

/// Handlers of one pod; the number of `$disconnect` invocations is limited by the permits.
struct Handlers {
    application: Arc<Application>,
    permits: Arc<Semaphore>,
}

impl ApiFunctions for Handlers {
    fn invoke_authorizer(&self, _: AuthorizerEvent<'_>) -> BoxFuture<'static, AuthorizerResult> {
        unreachable!("these pods have no port")
    }

    fn invoke_connect(&self, _: ConnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        unreachable!("these pods have no port")
    }

    fn invoke_message(&self, _: MessageEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        unreachable!("these pods have no port")
    }

    fn invoke_disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        let event: Value = serde_json::from_slice(&event.to_json()).unwrap();
        let (application, permits) = (self.application.clone(), self.permits.clone());
        async move {
            permits.acquire().await.unwrap().forget();
            let context = &event["requestContext"];
            let (id, status) =
                (context["connectionId"].as_str().unwrap(), context["disconnectStatusCode"].as_u64().unwrap());
            application.runs.lock().unwrap().entry(id.to_owned()).or_default().push(status);
            if application.failing.load(Ordering::SeqCst) {
                return Err(IntegrationError::Function);
            }
            IntegrationReply::from_value(json!({"statusCode": 200}))
        }
        .boxed()
    }
}

/// Returns settings with short timeouts.
pub fn settings(server: &RedisServer) -> RedisSettings {
    let mut settings = RedisSettings::single_server(&server.url());
    settings.connect_timeout = Duration::from_millis(500);
    settings.response_timeout = Duration::from_millis(500);
    settings
}

/// Pod without ports.
pub struct Pod {
    pub cluster: Cluster,
    pub server: ApiServer,
    pub readiness: Arc<Readiness>,
    pub metrics: Arc<ClusterMetrics>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Pod {
    /// Starts a pod whose handlers run any number of `$disconnect`s.
    pub async fn join(server: &RedisServer, application: &Arc<Application>) -> Self {
        Self::with_permits(server, application, Semaphore::MAX_PERMITS).await
    }

    /// Starts a pod whose handlers hang after `permits` `$disconnect`s.
    pub async fn with_permits(server: &RedisServer, application: &Arc<Application>, permits: usize) -> Self {
        let redis = RedisClient::connect(settings(server)).await.unwrap();
        let config = ClusterConfig {
            heartbeat: LEASE / 10,
            lease: LEASE,
            reap_rate: 5_000,
            reap_concurrency: 32,
            journal: JournalConfig::Off,
        };
        let (clock, metrics) = (Arc::new(SystemClock), Arc::new(ClusterMetrics::default()));
        let namespace = NamespaceIdentity::from_auth(&Config::for_tests().auth);
        let cluster = Cluster::join(redis, namespace, config, 10_000, clock, metrics.clone()).await.unwrap();
        let handlers = Handlers { application: application.clone(), permits: Arc::new(Semaphore::new(permits)) };
        let server = api_server(&cluster, handlers);
        let readiness = Arc::new(Readiness::default());
        readiness.set_state(ReadinessState::Ready);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let context = ServerContext {
            disconnects: server.disconnects(),
            drain: ConnectionDrain {
                config: Config::for_tests().drain,
                connections: server.connections().clone(),
                notices: None,
                tasks: server.lifecycle().tasks.clone(),
                peers: None,
            },
            readiness: readiness.clone(),
        };
        cluster.spawn_tasks(context, &tasks, &stop);
        Self { cluster, server, readiness, metrics, tasks, stop }
    }

    /// Opens a connection as a handshake does.
    pub async fn connect(&self) -> Arc<Connection> {
        let facts = self.facts();
        let registration = self.cluster.connection_registry().register(&facts).await.unwrap();
        let connection = self.open(&facts);
        assert!(registration.mark_opened(), "the pod lost its lease");
        connection
    }

    /// Opens a connection that is registered already.
    pub fn open(&self, facts: &Arc<ConnectionFacts>) -> Arc<Connection> {
        let connection = Arc::new(Connection::new(facts.clone(), 1024, self.now()));
        self.server.lifecycle().add_connection(&connection);
        connection
    }

    /// Opens `count` connections concurrently.
    pub async fn connect_many(&self, count: usize) -> Vec<Arc<Connection>> {
        futures_util::future::join_all((0..count).map(|_| self.connect())).await
    }

    fn now(&self) -> Timestamp {
        self.server.management.clock.now()
    }

    /// Returns the facts of a new connection.
    pub fn facts(&self) -> Arc<ConnectionFacts> {
        let (connection_id, _) = self.server.handshakes.ids.next_connection();
        Arc::new(ConnectionFacts {
            api: self.server.management.api.clone(),
            connection_id,
            domain_name: "localhost".into(),
            connected_at: 0,
            identity: RequestIdentity { iam: None, api_key: None, user_agent: None, source_ip: "127.0.0.1".into() },
            authorizer: None,
        })
    }

    /// Ends a connection as its session does.
    pub async fn end(&self, connection: &Connection) {
        self.server.lifecycle().close(connection);
        let mut stamper = EventStamper::new(self.server.handshakes.ids.event_ids_of(connection.id));
        disconnect_owned(&self.server.handshakes.sessions, connection, &mut stamper, &CloseCause::ClientWithoutStatus)
            .await;
    }

    /// Stops the tasks without releasing the lease.
    pub async fn die(&self) {
        self.stop.cancel();
        self.tasks.close();
        with_timeout("the pod's tasks to end", self.tasks.wait()).await;
    }

    /// Stops as after a drain, with a release of the lease.
    pub async fn leave(&self) {
        self.die().await;
        self.cluster.leave().await;
    }
}

fn api_server(cluster: &Cluster, handlers: Handlers) -> ApiServer {
    let config = Config::for_tests();
    let api = WebSocketApi::new(shim::wiring::api_definition(&config.api, &config.throttle)).unwrap();
    let lifecycle = ConnectionLifecycle {
        registry: Some(Arc::new(cluster.connection_registry())),
        disconnect_retry: DisconnectRetry::UntilSuccess,
        ..ConnectionLifecycle::plain(TaskTracker::new())
    };
    let parts = ApiServerParts {
        access: AccessControl::new(&api),
        integration: ApiIntegration { api: Arc::new(api), functions: Arc::new(handlers), clock: Arc::new(SystemClock) },
        ids: ConnectionIds::with_random_seed(cluster.node_id()).unwrap(),
        lifecycle,
        remote: None,
        metrics: ShimMetrics::new(),
    };
    ApiServer::new(parts, &config.server, &config.session)
}

/// Runs a command on a key of the cluster and returns the output of `redis-cli`: the lines of a hash or set, or a
/// number.
pub fn run_on_key(server: &RedisServer, command: &str, key: &str) -> String {
    server.run_command(&[command, &format!("twinway:{{cluster}}:{key}")]).unwrap()
}

/// Returns the keys that contain registrations.
pub fn connection_keys(server: &RedisServer) -> Vec<String> {
    let keys = server.run_command(&["KEYS", "twinway:{cluster}:*:*"]).unwrap();
    keys.lines().filter(|key| key.contains("}:connections:") || key.contains("}:reaping:")).map(str::to_owned).collect()
}
