//! tests
pub mod load;
