//! Access control of an API: rate limits, API keys of clients, verification of signed requests, and the rules for the
//! hosts, origins and proxies of requests.
//!
//! No operation blocks. A rate limit costs one atomic operation per bucket; keys and signatures are compared in
//! constant time. Errors have API Gateway's texts; the caller chooses the response. Authenticated and rejected requests
//! have separate budgets (`docs/adr/0026-request-budgets.md`).

pub mod address_budget;
pub mod api_hosts;
pub mod client_address;
pub mod credentials;
pub mod host_name;
pub mod keys;
pub mod origin;
pub mod throttle;

use std::sync::Arc;

use gateway::api::WebSocketApi;

pub use self::address_budget::{AddressBudgets, BudgetExceededError, RejectionCost};
pub use self::api_hosts::ApiHosts;
pub use self::credentials::{GeneratedKeys, IamCredentials, SigningCaller};
pub use self::keys::{ClientKeyConfig, ClientKeys};
pub use self::throttle::RequestThrottle;

/// Access control of one API.
pub struct AccessControl {
    /// Rate limits of accepted handshakes, of messages and of authorized requests.
    pub throttle: Arc<RequestThrottle>,
    /// Rate limits of rejected requests, per client address.
    pub rejections: Arc<AddressBudgets>,
    /// API keys of clients, for an API that requires one.
    pub keys: ClientKeys,
    /// Credentials accepted in signed requests.
    pub credentials: IamCredentials,
}

impl AccessControl {
    /// Returns the rate limits of `api`, without limits per connection and address, keys and credentials.
    #[must_use]
    pub fn new(api: &WebSocketApi) -> Self {
        Self {
            throttle: Arc::new(RequestThrottle::new(api)),
            rejections: Arc::new(AddressBudgets::new(None)),
            keys: ClientKeys::default(),
            credentials: IamCredentials::default(),
        }
    }
}
