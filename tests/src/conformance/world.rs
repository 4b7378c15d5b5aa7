//! Where cases run: against gateways started for them, or against one endpoint that is there already.
//!
//! Invariant: a case gets the API it asks for, fresh and its own, or learns that this place cannot give it.

mod local;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};

pub use self::local::{Gateway, Handlers, Started, start, start_at};

use super::client::{Answer, Call, Caller, Client, Dial, Refusal, call};
use super::event::{Event, Kind};
use super::recorder::{Observer, Recorder};
use super::row::not_runnable;
use super::spec::Spec;
use super::wire::place::Place;

/// How long a case waits for anything in this process.
const LOCAL_PATIENCE: Duration = Duration::from_secs(10);
/// How long a case waits for anything elsewhere.
const REMOTE_PATIENCE: Duration = Duration::from_secs(20);

/// A place to run one case in.
pub struct World {
    place: Option<Place>,
    caller: Option<Caller>,
    handlers: Handlers,
    started: Mutex<Vec<Started>>,
}

/// An API under test.
pub struct Api {
    /// Where it is.
    pub place: Place,
    recorder: Arc<dyn Recorder>,
    observer: Option<String>,
    caller: Option<Caller>,
    patience: Duration,
}

impl World {
    /// Gateways of this repository with in-process probes, started as cases need them.
    #[must_use]
    pub const fn local() -> Self {
        Self::of(Handlers::InProcess)
    }

    /// Gateways of this repository, started as cases need them.
    #[must_use]
    pub const fn of(handlers: Handlers) -> Self {
        Self { place: None, caller: None, handlers, started: Mutex::new(Vec::new()) }
    }

    /// The standard API, deployed at `place` with the probes behind it. Calls of `@connections` are signed by `caller`,
    /// where there is one.
    #[must_use]
    pub const fn remote(place: Place, caller: Option<Caller>) -> Self {
        Self { place: Some(place), caller, handlers: Handlers::InProcess, started: Mutex::new(Vec::new()) }
    }

    /// The standard API.
    ///
    /// # Errors
    /// It cannot be started or reached.
    pub async fn standard(&self) -> anyhow::Result<Api> {
        self.api(Spec::standard()).await
    }

    /// An API as `spec` has it.
    ///
    /// # Errors
    /// It cannot be started or reached, or is not to be had here.
    pub async fn api(&self, spec: Spec) -> anyhow::Result<Api> {
        match (&self.place, spec.special) {
            (None, _) => {
                let started = start(spec, self.handlers, LOCAL_PATIENCE).await?;
                let (place, recorder) = (started.place.clone(), started.recorder.clone());
                self.started.lock().unwrap_or_else(PoisonError::into_inner).push(started);
                Ok(Api { place, recorder, observer: None, caller: None, patience: LOCAL_PATIENCE })
            }
            (Some(_), Some(why)) => Err(not_runnable(format!("needs {why}"))),
            (Some(place), None) => {
                let observer = Observer::connect(place, REMOTE_PATIENCE).await.context("no observer")?;
                let id = observer.connection_id.clone();
                let (place, caller) = (place.clone(), self.caller.clone());
                Ok(Api { place, recorder: observer, observer: Some(id), caller, patience: REMOTE_PATIENCE })
            }
        }
    }

    /// Says that a case needs something that only a gateway in this process can be given.
    ///
    /// # Errors
    /// This is not such a place.
    pub fn only_here(&self, why: &str) -> anyhow::Result<()> {
        if self.place.is_some() { Err(not_runnable(format!("needs {why}"))) } else { Ok(()) }
    }

    /// Says that a case needs something that only probes in this process can do.
    ///
    /// # Errors
    /// The probes are elsewhere.
    pub fn only_in_process(&self, why: &str) -> anyhow::Result<()> {
        match self.handlers {
            Handlers::InProcess => self.only_here(why),
            Handlers::Executables => Err(not_runnable(format!("needs {why}"))),
        }
    }

    /// Says that a case calls `@connections`.
    ///
    /// # Errors
    /// The endpoint is API Gateway itself, which asks for signatures, and nobody is there to sign.
    pub fn calls(&self) -> anyhow::Result<()> {
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
    pub fn unsigned_calls(&self) -> anyhow::Result<()> {
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
    pub async fn connect(&self) -> anyhow::Result<Client> {
        self.dial(Dial::new()).await
    }

    /// Connects as `dial` says.
    ///
    /// # Errors
    /// The handshake is refused.
    pub async fn dial(&self, dial: Dial) -> anyhow::Result<Client> {
        Client::open(&self.place, self.observed(dial), self.patience).await
    }

    /// Connects as `dial` says and expects to be refused.
    ///
    /// # Errors
    /// The handshake succeeds.
    pub async fn refused(&self, dial: Dial) -> anyhow::Result<Refusal> {
        match Client::attempt(&self.place, self.observed(dial), self.patience).await? {
            Ok(client) => bail!("the handshake was to be refused: {:?}", client.head),
            Err(refusal) => Ok(refusal),
        }
    }

    /// The next event of `kind`.
    ///
    /// # Errors
    /// None comes.
    pub async fn next(&self, kind: Kind) -> anyhow::Result<Event> {
        self.recorder.next(kind).await
    }

    /// How many events of `kind` have come.
    ///
    /// # Errors
    /// The way from the probes is broken.
    pub async fn count(&self, kind: Kind) -> anyhow::Result<usize> {
        self.recorder.count(kind).await
    }

    /// Connects, and gives the client with its CONNECT event.
    ///
    /// # Errors
    /// The handshake is refused, or no event came.
    pub async fn connected(&self, dial: Dial) -> anyhow::Result<(Client, Event)> {
        let client = self.dial(dial).await?;
        Ok((client, self.next(Kind::Connect).await?))
    }

    /// Connects, and gives the client with its connection id.
    ///
    /// # Errors
    /// The handshake is refused, or no event came.
    pub async fn identified(&self) -> anyhow::Result<(Client, String)> {
        let (client, event) = self.connected(Dial::new()).await?;
        Ok((client, event.context("connectionId").to_owned()))
    }

    /// Calls `@connections`, signed where there is somebody to sign.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn call(&self, request: Call) -> anyhow::Result<Answer> {
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
    pub async fn post(&self, id: &str, body: impl Into<Vec<u8>>) -> anyhow::Result<Answer> {
        self.call(Call::new("POST", &self.place, id).body(body)).await
    }

    /// Deletes a connection.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn delete(&self, id: &str) -> anyhow::Result<Answer> {
        self.call(Call::new("DELETE", &self.place, id)).await
    }

    /// Describes a connection.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn describe(&self, id: &str) -> anyhow::Result<Answer> {
        self.call(Call::new("GET", &self.place, id)).await
    }

    /// How long a case waits for anything.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    fn observed(&self, dial: Dial) -> Dial {
        match &self.observer {
            Some(observer) => dial.observed_by(observer),
            None => dial,
        }
    }
}
