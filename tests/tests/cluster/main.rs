//! Leases, the registry of connections and the reaper, against a real Redis: who is dead, who finishes what, and what an
//! outage costs.
//!
//! Pods are parts of this process here: each has a link, a lease and a server's insides of its own, and dies by its tasks
//! ending without a word. Whole processes are killed in `it`.

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
