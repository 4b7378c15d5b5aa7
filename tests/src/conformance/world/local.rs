//! A gateway in this process: the real server on a free port, with probes in place of an application.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gateway::api::Api as GatewayApi;
use probes::Probe;
use probes::desk::DESK;
use shim::access::{Access, ClientKeys};
use shim::config::{Config, DrainConfig};
use shim::connection::{ConnectionIds, ConnectionLifecycle};
use shim::functions::{ApiIntegration, Functions, Lambda};
use shim::metrics::Metrics;
use shim::running::Running;
use shim::server::{ApiServer, ApiServerParts};
use system_clock::SystemClock;
use tokio_util::task::TaskTracker;

use crate::conformance::probe::desk::Desk;
use crate::conformance::probe::{Functional, Here, executable};
use crate::conformance::recorder::Memory;
use crate::conformance::spec::Spec;
use crate::conformance::wire::place::Place;

/// How long what a case left behind may take to end.
const GRACE: Duration = Duration::from_millis(500);

/// How the probes are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handlers {
    /// In this process.
    InProcess,
    /// As a Lambda executable, over the Runtime API.
    Executables,
}

/// A gateway that runs.
pub struct Gateway {
    /// Where it is.
    pub place: Place,
    running: Running,
}

/// A gateway that runs with probes of this suite behind it.
pub struct Started {
    /// Where it is.
    pub place: Place,
    /// What its probes saw.
    pub recorder: Arc<Memory>,
    gateway: Gateway,
    executables: Option<(Lambda, Desk)>,
}

/// Starts a gateway with the API that `spec` describes.
///
/// # Errors
/// The API has mistakes, no port is free, or the probe is not built.
pub async fn start(spec: Spec, handlers: Handlers, patience: Duration) -> anyhow::Result<Started> {
    start_at(spec, handlers, patience, "127.0.0.1:0").await
}

/// The same, on an address of one's own.
///
/// # Errors
/// The API has mistakes, the address is taken, or the probe is not built.
pub async fn start_at(spec: Spec, handlers: Handlers, patience: Duration, listen: &str) -> anyhow::Result<Started> {
    let recorder = Arc::new(Memory::new(patience));
    let here = Arc::new(Here::new(recorder.clone()));
    let probe = Arc::new(Probe::new(here.clone()));
    let executables = match handlers {
        Handlers::InProcess => None,
        Handlers::Executables => {
            let desk = Desk::open(probe.clone()).await?;
            let program = executable::binary("probe")?;
            Some((executable::lambda(&program, [(DESK, desk.address.to_string())])?, desk))
        }
    };
    let functions: Arc<dyn Functions> = match &executables {
        Some((lambda, _)) => Arc::new(lambda.clone()),
        None => Arc::new(Functional(probe)),
    };
    let gateway = Gateway::start(spec, functions, listen)?;
    here.connect_to(gateway.place.clone());
    Ok(Started { place: gateway.place.clone(), recorder, gateway, executables })
}

impl Started {
    /// Stops it; what its case left open is closed.
    pub async fn stop(self) {
        self.gateway.stop().await;
        if let Some((lambda, _desk)) = &self.executables {
            lambda.stop().await;
        }
    }
}

impl Gateway {
    /// Starts a gateway on the address `listen` with the API that `spec` describes and `functions` behind it.
    ///
    /// # Errors
    /// The API has mistakes, or the address is taken.
    pub fn start(spec: Spec, functions: Arc<dyn Functions>, listen: &str) -> anyhow::Result<Self> {
        let mut config = Config::test();
        config.server.listen = listen.parse().context("an address to listen on")?;
        if let Some(bytes) = spec.outbox_bytes {
            config.session.outbox_bytes = bytes;
        }
        let (management, stage) = (spec.management, spec.definition.stage.clone());
        config.server.trust_forwarded_for = spec.trust_forwarded_for;
        let server = server(spec, &config, functions)?;
        let running = Running::start(&config.server, server, management, None)?;
        let place = Place { tls: false, authority: running.traffic.to_string(), stage };
        Ok(Self { place, running })
    }

    /// Stops it; connections that are open are closed.
    pub async fn stop(self) {
        let drain = DrainConfig {
            delay: Duration::ZERO,
            wave_size: 1000,
            wave_interval: Duration::ZERO,
            grace: GRACE,
            termination_grace: None,
        };
        // Handlers that a case made hang on purpose are abandoned.
        let _ = self.running.stop(&drain).await;
    }
}

fn server(spec: Spec, config: &Config, functions: Arc<dyn Functions>) -> anyhow::Result<ApiServer> {
    let api = GatewayApi::new(spec.definition)?;
    let (keys, credentials) = (ClientKeys::new(spec.keys), spec.callers);
    let parts = ApiServerParts {
        access: Access { keys, credentials, ..Access::new(&api) },
        integration: ApiIntegration { api: Arc::new(api), functions, clock: Arc::new(SystemClock) },
        ids: ConnectionIds::random(1)?,
        lifecycle: ConnectionLifecycle::plain(TaskTracker::new()),
        remote: None,
        metrics: Metrics::new(),
    };
    Ok(ApiServer::new(parts, &config.server, &config.session))
}
