//! Free ports for processes that cannot choose one themselves.
//!
//! A process never returns the same port twice, and all ports are below the ephemeral range of the operating system
//! (`ip_local_port_range` begins at 32768 on Linux), so no outgoing connection can take one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 12_000;
const COUNT: u32 = 20_000;
/// Distance between the starting points of processes with consecutive ids.
const STRIDE: u32 = 1_009;

/// Returns a loopback address without a listener.
///
/// # Panics
/// All ports of the range are in use.
#[must_use]
pub fn free_address() -> SocketAddr {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(STRIDE);
    for _ in 0..COUNT {
        let candidate = start.wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(FIRST + candidate % COUNT).expect("the range ends below 65536");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port from {FIRST} on is free");
}
