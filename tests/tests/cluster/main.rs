//! Leases, the connection registry and the reaper on a real Redis: detection of dead pods, completion of their
//! connections, and outages.
//!
//! Pods are parts of this process: each has its own Redis client, lease and server internals, and dies by cancelling
//! its tasks without a release. The tests in `it` kill real processes.

#[cfg(test)]
mod leases;
#[cfg(test)]
mod outages;
#[cfg(test)]
mod reaping;
#[cfg(test)]
mod registry;
#[cfg(test)]
mod world;
