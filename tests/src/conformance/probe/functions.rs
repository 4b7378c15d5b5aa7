//! The probes as in-process functions of the shim: event JSON in, result JSON out.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use gateway::authorizer::{AuthorizerInvocationError, parse_authorizer_response};
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::reply::{IntegrationError, IntegrationReply};
use probes::Probe;
use probes::directive::ProbeError;
use shim::functions::{ApiFunctions, AuthorizerResult, IntegrationResult};

/// Functions that invoke a probe.
pub struct ProbeFunctions(pub Arc<Probe>);

impl ProbeFunctions {
    fn invoke(&self, raw: Vec<u8>) -> BoxFuture<'static, IntegrationResult> {
        let probe = self.0.clone();
        async move {
            IntegrationReply::from_value(probe.invoke(raw).await.map_err(|error| integration_failure(&error))?)
        }
        .boxed()
    }
}

impl ApiFunctions for ProbeFunctions {
    fn invoke_authorizer(&self, event: AuthorizerEvent<'_>) -> BoxFuture<'static, AuthorizerResult> {
        let (probe, raw) = (self.0.clone(), event.to_json());
        let limit = event.facts.api.quotas.authorizer_result_bytes;
        async move {
            let result = probe.invoke(raw).await.map_err(authorizer_failure)?;
            Ok(parse_authorizer_response(result.to_string().as_bytes(), limit)?)
        }
        .boxed()
    }

    fn invoke_connect(&self, event: ConnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        self.invoke(event.to_json())
    }

    fn invoke_message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        self.invoke(event.to_json())
    }

    fn invoke_disconnect(&self, event: DisconnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        self.invoke(event.to_json())
    }
}

fn integration_failure(error: &ProbeError) -> IntegrationError {
    match error {
        ProbeError::Throw(_) | ProbeError::Crash => IntegrationError::Function,
        ProbeError::NotInvokable => IntegrationError::NotInvokable,
        ProbeError::Throttled => IntegrationError::Throttled,
    }
}

fn authorizer_failure(error: ProbeError) -> AuthorizerInvocationError {
    match error {
        ProbeError::Throw(message) => AuthorizerInvocationError::Function(message),
        ProbeError::Crash | ProbeError::NotInvokable | ProbeError::Throttled => AuthorizerInvocationError::NotInvokable,
    }
}
