//! Who may use the API, and how often: rates, API keys, and callers who sign.
//!
//! Invariant: nothing here waits. A rate is one atomic step, a key and a signature are compared in constant time, and what
//! is refused says why in API Gateway's words. What is answered then is up to who asked.

pub mod credentials;
pub mod keys;
pub mod throttle;

use std::sync::Arc;

use gateway::api::WebSocketApi;

pub use self::credentials::{IamCredentials, SigningCaller};
pub use self::keys::{ClientKeyConfig, ClientKeys};
pub use self::throttle::Throttle;

/// What decides about requests to one API.
pub struct AccessControl {
    /// How often.
    pub throttle: Arc<Throttle>,
    /// The API keys that clients connect with, for an API that asks for one.
    pub keys: ClientKeys,
    /// Who may sign requests.
    pub credentials: IamCredentials,
}

impl AccessControl {
    /// The rates of `api`, for an API that knows neither keys nor callers.
    #[must_use]
    pub fn new(api: &WebSocketApi) -> Self {
        Self {
            throttle: Arc::new(Throttle::new(api)),
            keys: ClientKeys::default(),
            credentials: IamCredentials::default(),
        }
    }
}
