//! Callers of `@connections`.

/// Access to `@connections` on the traffic port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagementAccess {
    /// Requests with a valid signature of a caller whose policy allows them.
    Iam,
    /// Every request.
    Open,
    /// No request.
    Off,
}

/// Credentials of function processes for `@connections`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionCredentials {
    /// Keys of this server, unless the functions have credentials of their own.
    Auto,
    /// None.
    Off,
}
