//! A gateway in this process: the real server on a free port, with probes in place of an application.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gateway::api::WebSocketApi as GatewayApi;
use probes::Probe;
use probes::directive_client::DIRECTIVE_SERVER_VARIABLE;
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

/// How long what a case left behind may take to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(500);

/// How the probes are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeMode {
    /// In this process.
    InProcess,
    /// As a Lambda executable, over the Runtime API.
    Executables,
}

/// A gateway that runs.
pub struct LocalGateway {
    /// Where it is.
    pub place: EndpointAddress,
    running: ListeningServer,
}

/// A gateway that runs with probes of this suite behind it.
pub struct ProbedGateway {
    /// Where it is.
    pub place: EndpointAddress,
    /// What its probes saw.
    pub recorder: Arc<MemoryRecorder>,
    gateway: LocalGateway,
    executables: Option<(LambdaFunctions, DirectiveServer)>,
}

/// Starts a gateway with the API that `spec` describes.
///
/// # Errors
/// The API has mistakes, no port is free, or the probe is not built.
pub async fn start(spec: ApiSpec, handlers: ProbeMode, patience: Duration) -> anyhow::Result<ProbedGateway> {
    start_at(spec, handlers, patience, "127.0.0.1:0").await
}

/// The same, on an address of one's own.
///
/// # Errors
/// The API has mistakes, the address is taken, or the probe is not built.
pub async fn start_at(
    spec: ApiSpec,
    handlers: ProbeMode,
    patience: Duration,
    listen: &str,
) -> anyhow::Result<ProbedGateway> {
    let recorder = Arc::new(MemoryRecorder::new(patience));
    let here = Arc::new(LocalEnvironment::new(recorder.clone()));
    let probe = Arc::new(Probe::new(here.clone()));
    let executables = match handlers {
        ProbeMode::InProcess => None,
        ProbeMode::Executables => {
            let desk = DirectiveServer::open(probe.clone()).await?;
            let program = executable::binary("probe")?;
            Some((executable::lambda(&program, [(DIRECTIVE_SERVER_VARIABLE, desk.address.to_string())])?, desk))
        }
    };
    let functions: Arc<dyn ApiFunctions> = match &executables {
        Some((lambda, _)) => Arc::new(lambda.clone()),
        None => Arc::new(ProbeFunctions(probe)),
    };
    let gateway = LocalGateway::start(spec, functions, listen)?;
    here.connect_to(gateway.place.clone());
    Ok(ProbedGateway { place: gateway.place.clone(), recorder, gateway, executables })
}

impl ProbedGateway {
    /// Stops it; what its case left open is closed.
    pub async fn stop(self) {
        self.gateway.stop().await;
        if let Some((lambda, _desk)) = &self.executables {
            lambda.stop().await;
        }
    }
}

impl LocalGateway {
    /// Starts a gateway on the address `listen` with the API that `spec` describes and `functions` behind it.
    ///
    /// # Errors
    /// The API has mistakes, or the address is taken.
    pub fn start(spec: ApiSpec, functions: Arc<dyn ApiFunctions>, listen: &str) -> anyhow::Result<Self> {
        let mut config = Config::for_tests();
        config.server.listen = listen.parse().context("an address to listen on")?;
        if let Some(bytes) = spec.outbox_bytes {
            config.session.outbox_bytes = bytes;
        }
        let (management, stage) = (spec.management, spec.definition.stage.clone());
        config.server.trust_forwarded_for = spec.trust_forwarded_for;
        let server = server(spec, &config, functions)?;
        let running = ListeningServer::start(&config.server, server, management, None)?;
        let place = EndpointAddress { tls: false, authority: running.traffic_address.to_string(), stage };
        Ok(Self { place, running })
    }

    /// Stops it; connections that are open are closed.
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
