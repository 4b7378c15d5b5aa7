//! Ports for processes that cannot be asked to choose one themselves.
//!
//! Invariant: none is handed out twice by this process, and all lie below the range that the system hands out by itself
//! (`ip_local_port_range` begins at 32768 on Linux), so that no outgoing connection takes one in between.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;
/// Far apart for processes that run at the same time, whose ids follow each other.
const STRIDE: u32 = 1_009;

/// A loopback address that nobody listens on.
///
/// # Panics
/// When all ports of the range are taken.
#[must_use]
pub fn free_address() -> SocketAddr {
    static DRAWN: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let drawn = start.wrapping_add(DRAWN.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + drawn % COUNT).expect("the range ends below 65536");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port from {FIRST} on is free");
}
