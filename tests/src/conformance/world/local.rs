//! A gateway in this process: the real server on a free port, with probes in place of an application.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gateway::api::Api as GatewayApi;
use handlers::channel::Epoch;
use handlers::memory::{MemoryLog, Retention};
use shim::clock::SystemClock;
use shim::config::{Config, DrainConfig};
use shim::endpoint::{Endpoint, Ids};
use shim::hub::Hub;
use shim::metrics::Metrics;
use shim::running::Running;
use tokio_util::task::TaskTracker;

use crate::conformance::probe::{Functional, Probe};
use crate::conformance::recorder::Memory;
use crate::conformance::spec::Spec;
use crate::conformance::wire::place::Place;

/// How long what a case left behind may take to end.
const GRACE: Duration = Duration::from_millis(500);

/// Starts a gateway with the API that `spec` describes.
///
/// # Errors
/// The API has mistakes, or no port is free.
pub fn start(spec: Spec, patience: Duration) -> anyhow::Result<(Running, Place, Arc<Memory>)> {
    start_at(spec, patience, "127.0.0.1:0")
}

/// The same, on an address of one's own.
///
/// # Errors
/// The API has mistakes, or the address is taken.
pub fn start_at(spec: Spec, patience: Duration, listen: &str) -> anyhow::Result<(Running, Place, Arc<Memory>)> {
    let mut config = Config::test();
    config.server.listen = listen.parse().context("an address to listen on")?;
    if let Some(bytes) = spec.outbox_bytes {
        config.session.outbox_bytes = bytes;
    }
    let recorder = Arc::new(Memory::new(patience));
    let probe = Arc::new(Probe::new(recorder.clone()));
    let management = spec.management;
    let stage = spec.definition.stage.clone();
    let endpoint = endpoint(spec, &config, probe.clone())?;
    let running = Running::start(&config.server, Arc::new(endpoint), management, None)?;
    let place = Place { tls: false, authority: running.traffic.to_string(), stage };
    probe.connect_to(place.clone());
    Ok((running, place, recorder))
}

/// Stops a gateway; what its case left open is closed.
pub async fn stop(running: Running) {
    let drain = DrainConfig {
        delay: Duration::ZERO,
        wave_size: 1000,
        wave_interval: Duration::ZERO,
        grace: GRACE,
        termination_grace: None,
    };
    // Handlers that a case made hang on purpose are abandoned.
    let _ = running.stop(&drain).await;
}

fn endpoint(spec: Spec, config: &Config, probe: Arc<Probe>) -> anyhow::Result<Endpoint> {
    let metrics = Metrics::new();
    let tasks = TaskTracker::new();
    let log = MemoryLog::new(Epoch("conformance".into()), Retention { entries: 1, bytes: 1 });
    Ok(Endpoint {
        api: Arc::new(GatewayApi::new(spec.definition)?),
        functions: Arc::new(Functional(probe)),
        registry: None,
        hub: Hub::new(Arc::new(log), tasks.clone(), metrics.delivery.clone()),
        sessions: config.session.clone(),
        clock: Arc::new(SystemClock::new()?),
        ids: Ids::random(1)?,
        tasks,
        metrics: Arc::new(metrics),
        domain_name: None,
        trust_forwarded_for: spec.trust_forwarded_for,
        handshake_timeout: config.server.handshake_timeout,
    })
}
