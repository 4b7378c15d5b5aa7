//! Definition of the API that a case needs.
//!
//! Most cases use the standard API: routes `$connect`, `$disconnect`, `$default`, `probe` and `chat` (one-way), `ask`
//! (two-way), `$request.body.action`, no authorizer, API Gateway's quotas, concurrent messages. Cases that need
//! another API state the reason; they cannot run against a deployment of the standard API.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::api::{ApiDefinition, ApiSettings, RouteDefinition};
use gateway::quotas::Quotas;
use gateway::route::{RouteKey, RouteResponse};
use shim::access::ClientKeyConfig;
use shim::access::IamCredentials;
use shim::config::ManagementAccess;

/// API definition and server settings.
#[derive(Debug, Clone)]
pub struct ApiSpec {
    /// Difference from the standard API; `None` for the standard one.
    pub special: Option<&'static str>,
    /// API definition.
    pub definition: ApiDefinition,
    /// Outbox limit per connection in bytes.
    pub outbox_bytes: Option<usize>,
    /// Access control of `@connections`. The standard API is `open` on a loopback port, so that callers need not sign.
    pub management: ManagementAccess,
    /// API keys of clients.
    pub keys: Vec<ClientKeyConfig>,
    /// Credentials and policies of callers that sign.
    pub callers: IamCredentials,
    /// Number of trusted proxies in front of the server.
    pub trusted_hops: u8,
    /// Whether the defaults of a loopback listener apply to `Host` and `Origin`; the standard API accepts any, as API
    /// Gateway does.
    pub local_pages_only: bool,
}

impl ApiSpec {
    /// Returns the standard API.
    #[must_use]
    pub fn standard() -> Self {
        let one_way = [RouteKey::CONNECT, RouteKey::DISCONNECT, RouteKey::DEFAULT, "probe", "chat"];
        let mut routes: Vec<_> = one_way.map(|key| route(key, RouteResponse::OneWay)).into();
        routes.push(route("ask", RouteResponse::TwoWay));
        let definition = ApiDefinition {
            id: "a1b2c3d4e5".to_owned(),
            region: "us-east-1".to_owned(),
            account_id: "123456789012".to_owned(),
            stage: "prod".to_owned(),
            stage_variables: BTreeMap::new(),
            routes,
            selection: "$request.body.action".to_owned(),
            authorizer: None,
            api_key_required: false,
            quotas: Quotas::aws_profile(),
            settings: ApiSettings::default(),
        };
        Self {
            special: None,
            definition,
            outbox_bytes: None,
            management: ManagementAccess::Open,
            keys: Vec::new(),
            callers: IamCredentials::default(),
            trusted_hops: 0,
            local_pages_only: false,
        }
    }

    /// Returns the standard API modified by `change`; `why` describes the difference.
    #[must_use]
    pub fn special(why: &'static str, change: impl FnOnce(&mut Self)) -> Self {
        let mut spec = Self { special: Some(why), ..Self::standard() };
        change(&mut spec);
        spec
    }

    /// Returns an API with an authorizer that has these identity sources.
    #[must_use]
    pub fn authorized(sources: &[&str]) -> Self {
        let sources = sources.iter().map(|source| (*source).to_owned()).collect();
        Self::special("an API with an authorizer", |spec| spec.definition.authorizer = Some(sources))
    }

    /// Returns an API with a shorter idle timeout and lifetime in place of 10 minutes and 2 hours.
    #[must_use]
    pub fn with_timers(idle: Duration, lifetime: Duration) -> Self {
        Self::special("shorter timeouts", |spec| {
            spec.definition.quotas.idle_timeout = idle;
            spec.definition.quotas.max_lifetime = Some(lifetime);
        })
    }

    /// Removes the route `key`.
    pub fn remove(&mut self, key: &str) {
        self.definition.routes.retain(|route| route.key != key);
    }

    /// Adds a route.
    pub fn add(&mut self, key: &str, response: RouteResponse) {
        self.definition.routes.push(route(key, response));
    }
}

fn route(key: &str, response: RouteResponse) -> RouteDefinition {
    RouteDefinition { response, ..RouteDefinition::lambda(key, "probe") }
}
