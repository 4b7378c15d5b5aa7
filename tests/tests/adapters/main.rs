//! The Redis and PostgreSQL adapters and their clients, on real servers.

#[cfg(test)]
mod postgres;
#[cfg(test)]
mod redis;
