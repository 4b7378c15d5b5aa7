//! In-process gateway: the real server on a free port, with probes instead of an application.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gateway::api::WebSocketApi as GatewayApi;
use probes::Probe;
use probes::directive_client::DIRECTIVE_SERVER_VARIABLE;
use shim::access::client_address::TrustedProxies;
use shim::access::origin::{HostRule, OriginRule};
use shim::access::{AccessControl, ClientKeys};
use shim::config::{Config, DrainConfig};
use shim::connection::{ConnectionIds, ConnectionLifecycle};
use shim::functions::{ApiFunctions, ApiIntegration, LambdaFunctions};
use shim::metrics::ShimMetrics;
use shim::running::ListeningServer;
use shim::server::{ApiServer, ApiServerParts};
use system_clock::SystemClock;
use tokio_util::task::TaskTracker;

use crate::conformance::probe::directive_server::DirectiveServer;
use crate::conformance::probe::{LocalEnvironment, ProbeFunctions, executable};
use crate::conformance::recorder::MemoryRecorder;
use crate::conformance::spec::ApiSpec;
use crate::conformance::wire::endpoint_address::EndpointAddress;

/// Grace period for connections and handlers that a case left open.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);

/// Mode of the probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeMode {
    /// In this process.
    InProcess,
    /// As a Lambda executable, over the Runtime API.
    Executables,
}

/// Running gateway.
pub struct LocalGateway {
    /// Address of the gateway.
    pub endpoint: EndpointAddress,
    running: ListeningServer,
}

/// Running gateway with probes.
pub struct ProbedGateway {
    /// Address of the gateway.
    pub endpoint: EndpointAddress,
    /// Events that the probes received.
    pub recorder: Arc<MemoryRecorder>,
    gateway: LocalGateway,
    executables: Option<(LambdaFunctions, DirectiveServer)>,
}

/// Starts a gateway with the API of `spec`.
///
/// # Errors
/// The API is invalid, no port is free, or the probe is not built.
pub async fn start(spec: ApiSpec, handlers: ProbeMode, timeout: Duration) -> anyhow::Result<ProbedGateway> {
    start_at(spec, handlers, timeout, "127.0.0.1:0").await
}

/// Starts a gateway on a given address.
///
/// # Errors
/// The API is invalid, the address is in use, or the probe is not built.
pub async fn start_at(
    spec: ApiSpec,
    handlers: ProbeMode,
    timeout: Duration,
    listen: &str,
) -> anyhow::Result<ProbedGateway> {
    let recorder = Arc::new(MemoryRecorder::new(timeout));
    let environment = Arc::new(LocalEnvironment::new(recorder.clone()));
    let probe = Arc::new(Probe::new(environment.clone()));
    let executables = match handlers {
        ProbeMode::InProcess => None,
        ProbeMode::Executables => {
            let directive_server = DirectiveServer::open(probe.clone()).await?;
            let program = executable::binary("probe")?;
            Some((
                executable::lambda(&program, [(DIRECTIVE_SERVER_VARIABLE, directive_server.address.to_string())])?,
                directive_server,
            ))
        }
    };
    let functions: Arc<dyn ApiFunctions> = match &executables {
        Some((lambda, _)) => Arc::new(lambda.clone()),
        None => Arc::new(ProbeFunctions(probe)),
    };
    let gateway = LocalGateway::start(spec, functions, listen)?;
    environment.connect_to(gateway.endpoint.clone());
    Ok(ProbedGateway { endpoint: gateway.endpoint.clone(), recorder, gateway, executables })
}

impl ProbedGateway {
    /// Stops the gateway and closes open connections.
    pub async fn stop(self) {
        self.gateway.stop().await;
        if let Some((lambda, _directive_server)) = &self.executables {
            lambda.stop().await;
        }
    }
}

impl LocalGateway {
    /// Starts a gateway on the address `listen` with the API of `spec` and `functions`.
    ///
    /// # Errors
    /// The API is invalid, or the address is in use.
    pub fn start(spec: ApiSpec, functions: Arc<dyn ApiFunctions>, listen: &str) -> anyhow::Result<Self> {
        let mut config = Config::for_tests();
        config.server.listen = listen.parse().context("invalid listen address")?;
        if let Some(bytes) = spec.outbox_bytes {
            config.session.outbox_bytes = bytes;
        }
        let (management, stage) = (spec.management, spec.definition.stage.clone());
        config.server.proxies.trusted = TrustedProxies::Hops(spec.trusted_hops);
        if !spec.local_pages_only {
            (config.server.hosts, config.server.origins) = (Some(HostRule::Any), Some(OriginRule::Any));
        }
        let server = server(spec, &config, functions)?;
        let running = ListeningServer::start(&config.server, server, management, None)?;
        let endpoint = EndpointAddress { tls: false, authority: running.traffic_address.to_string(), stage };
        Ok(Self { endpoint, running })
    }

    /// Stops the gateway and closes open connections.
    pub async fn stop(self) {
        let drain = DrainConfig {
            delay: Duration::ZERO,
            batch_size: 1000,
            batch_interval: Duration::ZERO,
            grace: SHUTDOWN_TIMEOUT,
            termination_grace: None,
        };
        // Handlers that a case made hang on purpose are abandoned.
        let _ = self.running.stop(&drain).await;
    }
}

fn server(spec: ApiSpec, config: &Config, functions: Arc<dyn ApiFunctions>) -> anyhow::Result<ApiServer> {
    let api = GatewayApi::new(spec.definition)?;
    let (keys, credentials) = (ClientKeys::new(spec.keys), spec.callers);
    let parts = ApiServerParts {
        access: AccessControl { keys, credentials, ..AccessControl::new(&api) },
        integration: ApiIntegration { api: Arc::new(api), functions, clock: Arc::new(SystemClock) },
        ids: ConnectionIds::with_random_seed(1)?,
        lifecycle: ConnectionLifecycle::plain(TaskTracker::new()),
        remote: None,
        metrics: ShimMetrics::new(),
    };
    Ok(ApiServer::new(parts, &config.server, &config.session))
}
