//! All integration tests: a real client library over real sockets against the real binary.
//!
//! `make test` builds the binary first. Scenarios run in every world; tests of the process itself (start, disk,
//! drain, crash) and of invalid bytes start their own server.

#[cfg(test)]
mod cost;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod half_open;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod load;
#[cfg(test)]
mod management;
#[cfg(test)]
mod namespaces;
#[cfg(test)]
mod pods;
#[cfg(test)]
mod postgres;
#[cfg(test)]
mod process;
#[cfg(test)]
mod proxies;
#[cfg(test)]
mod redis_errors;
#[cfg(test)]
mod remote_management;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod strict_http;
#[cfg(test)]
mod topologies;
