//! tests
pub mod load;
pub mod client;
pub mod conformance;
pub mod eventually;
pub mod server;
pub mod world;
