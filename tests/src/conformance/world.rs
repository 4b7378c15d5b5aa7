//! Where cases run: against gateways started for them, or against one endpoint that is there already.
//!
//! Invariant: a case gets the API it asks for, fresh and its own, or learns that this place cannot give it.

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

/// How long a case waits for anything in this process.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a case waits for anything elsewhere.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(20);

/// A place to run one case in.
pub struct CaseWorld {
    place: Option<EndpointAddress>,
    caller: Option<ManagementCaller>,
    handlers: ProbeMode,
    started: Mutex<Vec<ProbedGateway>>,
}

/// An API under test.
pub struct Api {
    /// Where it is.
    pub place: EndpointAddress,
    recorder: Arc<dyn EventRecorder>,
    observer: Option<String>,
    caller: Option<ManagementCaller>,
    patience: Duration,
}

impl CaseWorld {
    /// Gateways of this repository with in-process probes, started as cases need them.
    #[must_use]
    pub const fn local() -> Self {
        Self::of(ProbeMode::InProcess)
    }

    /// Gateways of this repository, started as cases need them.
    #[must_use]
    pub const fn of(handlers: ProbeMode) -> Self {
        Self { place: None, caller: None, handlers, started: Mutex::new(Vec::new()) }
    }

    /// The standard API, deployed at `place` with the probes behind it. Calls of `@connections` are signed by `caller`,
    /// where there is one.
    #[must_use]
    pub const fn remote(place: EndpointAddress, caller: Option<ManagementCaller>) -> Self {
        Self { place: Some(place), caller, handlers: ProbeMode::InProcess, started: Mutex::new(Vec::new()) }
    }

    /// The standard API.
    ///
    /// # Errors
    /// It cannot be started or reached.
    pub async fn standard(&self) -> anyhow::Result<Api> {
        self.api(ApiSpec::standard()).await
    }

    /// An API as `spec` has it.
    ///
    /// # Errors
    /// It cannot be started or reached, or is not to be had here.
    pub async fn api(&self, spec: ApiSpec) -> anyhow::Result<Api> {
        match (&self.place, spec.special) {
            (None, _) => {
                let started = start(spec, self.handlers, LOCAL_TIMEOUT).await?;
                let (place, recorder) = (started.place.clone(), started.recorder.clone());
                self.started.lock().unwrap_or_else(PoisonError::into_inner).push(started);
                Ok(Api { place, recorder, observer: None, caller: None, patience: LOCAL_TIMEOUT })
            }
            (Some(_), Some(why)) => Err(not_runnable(format!("needs {why}"))),
            (Some(place), None) => {
                let observer = ConnectionRecorder::connect(place, REMOTE_TIMEOUT).await.context("no observer")?;
                let id = observer.connection_id.clone();
                let (place, caller) = (place.clone(), self.caller.clone());
                Ok(Api { place, recorder: observer, observer: Some(id), caller, patience: REMOTE_TIMEOUT })
            }
        }
    }

    /// Says that a case needs something that only a gateway in this process can be given.
    ///
    /// # Errors
    /// This is not such a place.
    pub fn require_local_gateway(&self, why: &str) -> anyhow::Result<()> {
        if self.place.is_some() { Err(not_runnable(format!("needs {why}"))) } else { Ok(()) }
    }

    /// Says that a case needs something that only probes in this process can do.
    ///
    /// # Errors
    /// The probes are elsewhere.
    pub fn require_in_process_probes(&self, why: &str) -> anyhow::Result<()> {
        match self.handlers {
            ProbeMode::InProcess => self.require_local_gateway(why),
            ProbeMode::Executables => Err(not_runnable(format!("needs {why}"))),
        }
    }

    /// Says that a case calls `@connections`.
    ///
    /// # Errors
    /// The endpoint is API Gateway itself, which asks for signatures, and nobody is there to sign.
    pub fn require_signed_calls(&self) -> anyhow::Result<()> {
        match (&self.place, &self.caller) {
            (Some(place), None) if place.is_on_aws() => {
                Err(not_runnable("calls of @connections have to be signed there: AWS_ACCESS_KEY_ID is not set"))
            }
            _ => Ok(()),
        }
    }

    /// Says that a case calls `@connections` without a signature, or with one that nobody made.
    ///
    /// # Errors
    /// The endpoint asks for signatures.
    pub fn require_unsigned_calls(&self) -> anyhow::Result<()> {
        match (&self.place, &self.caller) {
            (Some(place), caller) if caller.is_some() || place.is_on_aws() => {
                Err(not_runnable("calls of @connections have to be signed there"))
            }
            _ => Ok(()),
        }
    }

    /// Stops what was started.
    pub async fn close(&self) {
        let started = std::mem::take(&mut *self.started.lock().unwrap_or_else(PoisonError::into_inner));
        for started in started {
            started.stop().await;
        }
    }
}

impl Api {
    /// Connects with the plain handshake.
    ///
    /// # Errors
    /// The handshake is refused.
    pub async fn connect(&self) -> anyhow::Result<ConformanceClient> {
        self.dial(HandshakeBuilder::new()).await
    }

    /// Connects as `dial` says.
    ///
    /// # Errors
    /// The handshake is refused.
    pub async fn dial(&self, dial: HandshakeBuilder) -> anyhow::Result<ConformanceClient> {
        ConformanceClient::open(&self.place, self.observed(dial), self.patience).await
    }

    /// Connects as `dial` says and expects to be refused.
    ///
    /// # Errors
    /// The handshake succeeds.
    pub async fn expect_rejection(&self, dial: HandshakeBuilder) -> anyhow::Result<RejectedHandshake> {
        match ConformanceClient::attempt(&self.place, self.observed(dial), self.patience).await? {
            Ok(client) => bail!("the handshake was to be refused: {:?}", client.head),
            Err(refusal) => Ok(refusal),
        }
    }

    /// The next event of `kind`.
    ///
    /// # Errors
    /// None comes.
    pub async fn next(&self, kind: EventKind) -> anyhow::Result<Event> {
        self.recorder.next(kind).await
    }

    /// How many events of `kind` have come.
    ///
    /// # Errors
    /// The way from the probes is broken.
    pub async fn count(&self, kind: EventKind) -> anyhow::Result<usize> {
        self.recorder.count(kind).await
    }

    /// Connects, and gives the client with its CONNECT event.
    ///
    /// # Errors
    /// The handshake is refused, or no event came.
    pub async fn connected(&self, dial: HandshakeBuilder) -> anyhow::Result<(ConformanceClient, Event)> {
        let client = self.dial(dial).await?;
        Ok((client, self.next(EventKind::Connect).await?))
    }

    /// Connects, and gives the client with its connection id.
    ///
    /// # Errors
    /// The handshake is refused, or no event came.
    pub async fn connect_with_id(&self) -> anyhow::Result<(ConformanceClient, String)> {
        let (client, event) = self.connected(HandshakeBuilder::new()).await?;
        Ok((client, event.context("connectionId").to_owned()))
    }

    /// Calls `@connections`, signed where there is somebody to sign.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn call(&self, request: ManagementRequest) -> anyhow::Result<ManagementReply> {
        let request = match &self.caller {
            Some(caller) => caller.call(&self.place, request)?,
            None => request,
        };
        call(&self.place, &request, self.patience).await
    }

    /// Posts `body` to a connection.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn post(&self, id: &str, body: impl Into<Vec<u8>>) -> anyhow::Result<ManagementReply> {
        self.call(ManagementRequest::new("POST", &self.place, id).body(body)).await
    }

    /// Deletes a connection.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn delete(&self, id: &str) -> anyhow::Result<ManagementReply> {
        self.call(ManagementRequest::new("DELETE", &self.place, id)).await
    }

    /// Describes a connection.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn describe(&self, id: &str) -> anyhow::Result<ManagementReply> {
        self.call(ManagementRequest::new("GET", &self.place, id)).await
    }

    /// How long a case waits for anything.
    #[must_use]
    pub const fn case_timeout(&self) -> Duration {
        self.patience
    }

    fn observed(&self, dial: HandshakeBuilder) -> HandshakeBuilder {
        match &self.observer {
            Some(observer) => dial.observed_by(observer),
            None => dial,
        }
    }
}
