//! The benchmark: several servers under the same load, in alternating rounds, reported as medians and ratios.
//!
//! Every measurement uses a new server process, and the peer and our server alternate within each round, so that
//! other load on the host affects both. Where the host allows it, the server is pinned to core 0 and the generator to
//! core 1. The exit code does not depend on the results; the report states whether each target holds.

pub mod baseline;
pub mod child;
pub mod comparison;
pub mod comparison_report;
pub mod pods;
pub mod suite;
pub mod tokens;
