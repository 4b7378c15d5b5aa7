//! Every integration test: a real client library over real sockets against the real binary.
//!
//! `make test` builds the binary first. Scenarios run in every world; what concerns the process itself (start, disk, drain,
//! crash) and bytes that no client library sends have a server of their own.

#[cfg(test)]
mod cost;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod elsewhere;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod load;
#[cfg(test)]
mod management;
#[cfg(test)]
mod pods;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod process;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod topologies;
#[cfg(test)]
mod trouble;
