//! Exit codes of `twinway` and `twinway-migrate`, the only table of them. 64 and above are those of BSD's `sysexits.h`.
//!
//! | code | `twinway` | `twinway migrate` |
//! |---|---|---|
//! | 0 | done | copied, and equal |
//! | 1 | `healthcheck`: the server is not healthy | something differs or could not be copied |
//! | 64 | the command line or the configuration is not valid | the same |
//! | 69 | a port, the data directory, Redis or PostgreSQL is not available | a store is not available |
//! | 70 | an internal failure | the same |
//! | 75 | connections or work were left when the grace period ended | interrupted; the same command continues |

/// Success.
pub const DONE: u8 = 0;
/// The command ran, and its answer is no: an unhealthy server, a difference between two stores.
pub const NEGATIVE: u8 = 1;
/// The command line or the configuration is not valid (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;
/// A port, a directory or a server is not available (`EX_UNAVAILABLE`).
pub const EXIT_UNAVAILABLE: u8 = 69;
/// An internal failure (`EX_SOFTWARE`).
pub const EXIT_INTERNAL: u8 = 70;
/// Something is left to do (`EX_TEMPFAIL`).
pub const UNFINISHED: u8 = 75;
