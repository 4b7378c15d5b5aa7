//! Exit codes of `twinway` and `twinway-migrate`. Codes from 64 are those of BSD's `sysexits.h`.
//!
//! | code | `twinway` | `twinway migrate` |
//! |---|---|---|
//! | 0 | success | copied, and equal |
//! | 1 | `healthcheck`, `verify`: the server is not healthy | something differs or could not be copied |
//! | 64 | the command line or the configuration is invalid | the same |
//! | 69 | a port, the data directory, Redis or PostgreSQL is not available | a store is not available |
//! | 70 | internal error | the same |
//! | 75 | connections or tasks remained when the grace period ended | interrupted; the same command continues |

/// Success.
pub const EXIT_SUCCESS: u8 = 0;
/// The command completed with a negative result: an unhealthy server, a difference between two stores.
pub const EXIT_NEGATIVE: u8 = 1;
/// The command line or the configuration is invalid (`EX_USAGE`).
pub const EXIT_USAGE: u8 = 64;
/// A port, a directory or a server is not available (`EX_UNAVAILABLE`).
pub const EXIT_UNAVAILABLE: u8 = 69;
/// Internal error (`EX_SOFTWARE`).
pub const EXIT_INTERNAL: u8 = 70;
/// The work is not complete (`EX_TEMPFAIL`).
pub const EXIT_UNFINISHED: u8 = 75;
