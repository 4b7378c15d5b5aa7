//! The benchmark: servers side by side under the same load, in alternating rounds, as medians and ratios.
//!
//! Invariant: every number comes from a server process of its own, and peer and ours take turns within each round, so that
//! whatever else the machine does hits both. Where the machine allows it the server has core 0 and the generator core 1. The
//! benchmark judges nothing by its exit code: it prints whether each stated target holds.

pub mod baseline;
pub mod child;
pub mod comparison;
pub mod comparison_report;
pub mod pods;
pub mod suite;
pub mod tokens;
