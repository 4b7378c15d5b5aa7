//! World of a case: gateways started for it, or one existing endpoint.
//!
//! A case gets a new instance of the API that it requests, or an error that it cannot run here.

mod local;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};

pub use self::local::{LocalGateway, ProbeMode, ProbedGateway, start, start_at};

use super::client::{
    ConformanceClient, HandshakeBuilder, ManagementCaller, ManagementReply, ManagementRequest, RejectedHandshake, call,
};
use super::event::{Event, EventKind};
use super::recorder::{ConnectionRecorder, EventRecorder};
use super::row::not_runnable;
use super::spec::ApiSpec;
use super::wire::endpoint_address::EndpointAddress;

/// Timeout of a case in this process.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of a case against a remote endpoint.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(20);

/// World of one case.
pub struct CaseWorld {
    endpoint: Option<EndpointAddress>,
    caller: Option<ManagementCaller>,
    handlers: ProbeMode,
    started: Mutex<Vec<ProbedGateway>>,
}

/// API under test.
pub struct Api {
    /// Address of the API.
    pub endpoint: EndpointAddress,
    recorder: Arc<dyn EventRecorder>,
    observer: Option<String>,
    caller: Option<ManagementCaller>,
    timeout: Duration,
}

impl CaseWorld {
    /// Returns a world of in-process gateways with in-process probes.
    #[must_use]
    pub const fn local() -> Self {
        Self::of(ProbeMode::InProcess)
    }

    /// Returns a world of in-process gateways, started on demand.
    #[must_use]
    pub const fn of(handlers: ProbeMode) -> Self {
        Self { endpoint: None, caller: None, handlers, started: Mutex::new(Vec::new()) }
    }

    /// Returns a world of the standard API, deployed at `endpoint` with the probes. `@connections` calls are signed
    /// by `caller`, if given.
    #[must_use]
    pub const fn remote(endpoint: EndpointAddress, caller: Option<ManagementCaller>) -> Self {
        Self { endpoint: Some(endpoint), caller, handlers: ProbeMode::InProcess, started: Mutex::new(Vec::new()) }
    }

    /// Returns the standard API.
    ///
    /// # Errors
    /// It cannot be started or reached.
    pub async fn standard(&self) -> anyhow::Result<Api> {
        self.api(ApiSpec::standard()).await
    }

    /// Returns an API with this definition.
    ///
    /// # Errors
    /// The API cannot be started or reached, or the endpoint does not provide it.
    pub async fn api(&self, spec: ApiSpec) -> anyhow::Result<Api> {
        match (&self.endpoint, spec.special) {
            (None, _) => {
                let started = start(spec, self.handlers, LOCAL_TIMEOUT).await?;
                let (endpoint, recorder) = (started.endpoint.clone(), started.recorder.clone());
                self.started.lock().unwrap_or_else(PoisonError::into_inner).push(started);
                Ok(Api { endpoint, recorder, observer: None, caller: None, timeout: LOCAL_TIMEOUT })
            }
            (Some(_), Some(why)) => Err(not_runnable(format!("needs {why}"))),
            (Some(endpoint), None) => {
                let observer = ConnectionRecorder::connect(endpoint, REMOTE_TIMEOUT).await.context("no observer")?;
                let id = observer.connection_id.clone();
                let (endpoint, caller) = (endpoint.clone(), self.caller.clone());
                Ok(Api { endpoint, recorder: observer, observer: Some(id), caller, timeout: REMOTE_TIMEOUT })
            }
        }
    }

    /// Requires an in-process gateway; `why` names the reason.
    ///
    /// # Errors
    /// The world is a remote endpoint.
    pub fn require_local_gateway(&self, why: &str) -> anyhow::Result<()> {
        if self.endpoint.is_some() { Err(not_runnable(format!("needs {why}"))) } else { Ok(()) }
    }

    /// Requires in-process probes; `why` names the reason.
    ///
    /// # Errors
    /// The probes run elsewhere.
    pub fn require_in_process_probes(&self, why: &str) -> anyhow::Result<()> {
        match self.handlers {
            ProbeMode::InProcess => self.require_local_gateway(why),
            ProbeMode::Executables => Err(not_runnable(format!("needs {why}"))),
        }
    }

    /// Requires the permission to call `@connections`.
    ///
    /// # Errors
    /// The endpoint is API Gateway itself, which requires signatures, and the world has no credentials.
    pub fn require_signed_calls(&self) -> anyhow::Result<()> {
        match (&self.endpoint, &self.caller) {
            (Some(endpoint), None) if endpoint.is_on_aws() => {
                Err(not_runnable("API Gateway requires signed @connections calls: set AWS_ACCESS_KEY_ID"))
            }
            _ => Ok(()),
        }
    }

    /// Requires that `@connections` accepts calls without a valid signature.
    ///
    /// # Errors
    /// The endpoint requires signatures.
    pub fn require_unsigned_calls(&self) -> anyhow::Result<()> {
        match (&self.endpoint, &self.caller) {
            (Some(endpoint), caller) if caller.is_some() || endpoint.is_on_aws() => {
                Err(not_runnable("the endpoint requires signed @connections calls"))
            }
            _ => Ok(()),
        }
    }

    /// Stops the started gateways.
    pub async fn close(&self) {
        let started = std::mem::take(&mut *self.started.lock().unwrap_or_else(PoisonError::into_inner));
        for started in started {
            started.stop().await;
        }
    }
}

impl Api {
    /// Connects with the minimal handshake.
    ///
    /// # Errors
    /// The handshake is rejected.
    pub async fn connect(&self) -> anyhow::Result<ConformanceClient> {
        self.dial(HandshakeBuilder::new()).await
    }

    /// Connects with this handshake.
    ///
    /// # Errors
    /// The handshake is rejected.
    pub async fn dial(&self, dial: HandshakeBuilder) -> anyhow::Result<ConformanceClient> {
        ConformanceClient::open(&self.endpoint, self.observed(dial), self.timeout).await
    }

    /// Sends this handshake and expects a rejection.
    ///
    /// # Errors
    /// The handshake succeeds.
    pub async fn expect_rejection(&self, dial: HandshakeBuilder) -> anyhow::Result<RejectedHandshake> {
        match ConformanceClient::attempt(&self.endpoint, self.observed(dial), self.timeout).await? {
            Ok(client) => bail!("the handshake was accepted: {:?}", client.head),
            Err(rejection) => Ok(rejection),
        }
    }

    /// Returns the next event of `kind`.
    ///
    /// # Errors
    /// No event arrives.
    pub async fn next(&self, kind: EventKind) -> anyhow::Result<Event> {
        self.recorder.next(kind).await
    }

    /// Returns the number of events of `kind` so far.
    ///
    /// # Errors
    /// The connection to the probes is broken.
    pub async fn count(&self, kind: EventKind) -> anyhow::Result<usize> {
        self.recorder.count(kind).await
    }

    /// Connects, and returns the client with its CONNECT event.
    ///
    /// # Errors
    /// The handshake is rejected, or no event arrives.
    pub async fn connected(&self, dial: HandshakeBuilder) -> anyhow::Result<(ConformanceClient, Event)> {
        let client = self.dial(dial).await?;
        Ok((client, self.next(EventKind::Connect).await?))
    }

    /// Connects, and returns the client with its connection id.
    ///
    /// # Errors
    /// The handshake is rejected, or no event arrives.
    pub async fn connect_with_id(&self) -> anyhow::Result<(ConformanceClient, String)> {
        let (client, event) = self.connected(HandshakeBuilder::new()).await?;
        Ok((client, event.context("connectionId").to_owned()))
    }

    /// Calls `@connections`, signed if there is a caller.
    ///
    /// # Errors
    /// There is no response.
    pub async fn call(&self, request: ManagementRequest) -> anyhow::Result<ManagementReply> {
        let request = match &self.caller {
            Some(caller) => caller.call(&self.endpoint, request)?,
            None => request,
        };
        call(&self.endpoint, &request, self.timeout).await
    }

    /// Posts `body` to a connection.
    ///
    /// # Errors
    /// There is no response.
    pub async fn post(&self, id: &str, body: impl Into<Vec<u8>>) -> anyhow::Result<ManagementReply> {
        self.call(ManagementRequest::new("POST", &self.endpoint, id).body(body)).await
    }

    /// Deletes a connection.
    ///
    /// # Errors
    /// There is no response.
    pub async fn delete(&self, id: &str) -> anyhow::Result<ManagementReply> {
        self.call(ManagementRequest::new("DELETE", &self.endpoint, id)).await
    }

    /// Describes a connection.
    ///
    /// # Errors
    /// There is no response.
    pub async fn describe(&self, id: &str) -> anyhow::Result<ManagementReply> {
        self.call(ManagementRequest::new("GET", &self.endpoint, id)).await
    }

    /// Returns the timeout of a case.
    #[must_use]
    pub const fn case_timeout(&self) -> Duration {
        self.timeout
    }

    fn observed(&self, dial: HandshakeBuilder) -> HandshakeBuilder {
        match &self.observer {
            Some(observer) => dial.observed_by(observer),
            None => dial,
        }
    }
}
