//! The API that a case needs.
//!
//! Most cases need the standard one: routes `$connect`, `$disconnect`, `$default`, `probe` and `chat` (one-way), `ask`
//! (two-way), `$request.body.action`, no authorizer, API Gateway's quotas, all messages at once. Cases that need another
//! one say why; they cannot run where only the standard one is deployed.

use std::collections::BTreeMap;
use std::time::Duration;

use gateway::api::{ApiDefinition, ApiSettings, RouteDefinition};
use gateway::quotas::Quotas;
use gateway::route::{RouteKey, RouteOrdering, RouteResponse};
use shim::access::ClientKeyConfig;
use shim::access::IamCredentials;
use shim::config::ManagementAccess;

/// An API and how its server is configured.
#[derive(Debug, Clone)]
pub struct ApiSpec {
    /// Why the standard API does not do; `None` for the standard one.
    pub special: Option<&'static str>,
    /// The API.
    pub definition: ApiDefinition,
    /// What may wait for a slow reader, in bytes.
    pub outbox_bytes: Option<usize>,
    /// Who may call `@connections`.
    pub management: ManagementAccess,
    /// The API keys of clients.
    pub keys: Vec<ClientKeyConfig>,
    /// Who may sign requests.
    pub callers: IamCredentials,
    /// Whether `X-Forwarded-For` names the client.
    pub trust_forwarded_for: bool,
}

impl ApiSpec {
    /// The standard API.
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
            management: ManagementAccess::Loopback,
            keys: Vec::new(),
            callers: IamCredentials::default(),
            trust_forwarded_for: false,
        }
    }

    /// The standard API changed by `change`, because of `why`.
    #[must_use]
    pub fn special(why: &'static str, change: impl FnOnce(&mut Self)) -> Self {
        let mut spec = Self { special: Some(why), ..Self::standard() };
        change(&mut spec);
        spec
    }

    /// With an authorizer that has these identity sources.
    #[must_use]
    pub fn authorized(sources: &[&str]) -> Self {
        let sources = sources.iter().map(|source| (*source).to_owned()).collect();
        Self::special("an API with an authorizer", |spec| spec.definition.authorizer = Some(sources))
    }

    /// With time compressed: `idle` and `lifetime` stand for 10 minutes and 2 hours.
    #[must_use]
    pub fn compressed(idle: Duration, lifetime: Duration) -> Self {
        Self::special("a compressed clock", |spec| {
            spec.definition.quotas.idle_timeout = idle;
            spec.definition.quotas.max_lifetime = Some(lifetime);
        })
    }

    /// Without the route `key`.
    pub fn remove(&mut self, key: &str) {
        self.definition.routes.retain(|route| route.key != key);
    }

    /// With a further route.
    pub fn add(&mut self, key: &str, response: RouteResponse) {
        self.definition.routes.push(route(key, response));
    }
}

fn route(key: &str, response: RouteResponse) -> RouteDefinition {
    RouteDefinition { key: key.to_owned(), response, ordering: RouteOrdering::Concurrent }
}
