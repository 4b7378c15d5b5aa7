//! What API Gateway does.
