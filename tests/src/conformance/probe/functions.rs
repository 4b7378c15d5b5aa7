//! The probes as in-process functions of the shim: an event's JSON in, a result's JSON out.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use gateway::authorizer::{AuthorizerFailure, response_from_json};
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::reply::{IntegrationFailure, Reply};
use probes::Probe;
use probes::directive::Refusal;
use shim::functions::{Answer, Functions, Verdict};

/// The probes behind an endpoint of the shim.
pub struct Functional(pub Arc<Probe>);

impl Functional {
    fn answer(&self, raw: Vec<u8>) -> BoxFuture<'static, Answer> {
        let probe = self.0.clone();
        async move { Reply::from_value(probe.invoke(raw).await.map_err(|refusal| integration_failure(&refusal))?) }
            .boxed()
    }
}

impl Functions for Functional {
    fn authorize(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, Verdict> {
        let (probe, raw) = (self.0.clone(), event.to_json());
        async move {
            let result = probe.invoke(raw).await.map_err(authorizer_failure)?;
            response_from_json(result.to_string().as_bytes())
        }
        .boxed()
    }

    fn connect(&self, event: ConnectEvent<'_>) -> BoxFuture<'static, Answer> {
        self.answer(event.to_json())
    }

    fn message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, Answer> {
        self.answer(event.to_json())
    }

    fn disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, Answer> {
        self.answer(event.to_json())
    }
}

fn integration_failure(refusal: &Refusal) -> IntegrationFailure {
    match refusal {
        Refusal::Throw(_) | Refusal::Crash => IntegrationFailure::Function,
        Refusal::NotInvokable => IntegrationFailure::NotInvokable,
        Refusal::Throttled => IntegrationFailure::Throttled,
    }
}

fn authorizer_failure(refusal: Refusal) -> AuthorizerFailure {
    match refusal {
        Refusal::Throw(message) => AuthorizerFailure::Function(message),
        Refusal::Crash | Refusal::NotInvokable | Refusal::Throttled => AuthorizerFailure::NotInvokable,
    }
}
