//! tests
pub mod client;
pub mod conformance;
pub mod eventually;
pub mod load;
pub mod server;
pub mod world;
