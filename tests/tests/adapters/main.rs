//! The adapters for Redis and PostgreSQL and the links below them, on real servers.

#[cfg(test)]
mod postgres;
#[cfg(test)]
mod redis;
