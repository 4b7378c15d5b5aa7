//! Integration of a route, as in a template.

use std::time::Duration;

/// Minimum timeout of an integration (`TimeoutInMillis`, API Gateway V2 reference, `CreateIntegration`).
pub const MIN_INTEGRATION_TIMEOUT: Duration = Duration::from_millis(50);

/// Backend of a route. The server maps it to a program, a URL or a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteIntegration {
    /// `AWS_PROXY` with a Lambda function, or the function of this name in the server's process.
    Lambda {
        /// Name of the function, unique in the application.
        function: String,
        /// Timeout after which the client gets `Endpoint request timed out`; `None` for that of the quotas. The function
        /// continues.
        timeout: Option<Duration>,
    },
}

impl RouteIntegration {
    /// Returns the integration of a Lambda function with the timeout of the quotas.
    #[must_use]
    pub fn lambda(function: &str) -> Self {
        Self::Lambda { function: function.to_owned(), timeout: None }
    }

    /// Returns the name of the backend for logs and tables.
    #[must_use]
    pub fn target_name(&self) -> &str {
        match self {
            Self::Lambda { function, .. } => function,
        }
    }

    /// Returns the configured timeout.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Lambda { timeout, .. } => *timeout,
        }
    }
}
