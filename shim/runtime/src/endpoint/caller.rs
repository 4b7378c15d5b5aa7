//! Check of the callers of a Runtime API: the function's own user, and no web page.
//!
//! Every local user can connect to a loopback port, and so can a web page: directly, or with a host name that resolves
//! to a loopback address (DNS rebinding). The user of a connection is that of its client socket, which the kernel
//! reports (sock_diag(7), or `/proc/net/tcp` where that is not available). Runtimes send the API's address as `Host`;
//! browsers send the name of the page's address, and `Origin` or `Sec-Fetch-*` headers that no runtime sends.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};

/// Names of the headers with which browsers describe the origin of a request (W3C, Fetch Metadata).
const FETCH_METADATA_PREFIX: &str = "sec-fetch-";

/// User of the client socket of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PeerUser {
    /// The effective user id of the process that created the socket.
    Uid(u32),
    /// No process has the socket any more.
    Closed,
    /// The system does not provide the user.
    Unknown,
}

/// Returns why a request does not come from a runtime; `None` if it may.
pub(super) fn foreign_request(address: &str, target: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let own_host = hosts.next().is_some_and(|host| host.as_bytes() == address.as_bytes()) && hosts.next().is_none();
    let own_authority = target.authority().is_none_or(|authority| authority.as_str() == address);
    if !own_host || !own_authority {
        return Some("its Host is not the address of the Runtime API");
    }
    let is_metadata = |name: &http::HeaderName| *name == ORIGIN || name.as_str().starts_with(FETCH_METADATA_PREFIX);
    headers.keys().any(is_metadata).then_some("a web page sent it")
}

/// Returns the user id of the process that has the client socket of a connection from `peer` which was accepted at
/// `local`; `None` if no process has it any more, or the system does not tell.
#[must_use]
pub fn connection_uid(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    match peer_user(peer, local) {
        PeerUser::Uid(uid) => Some(uid),
        PeerUser::Closed | PeerUser::Unknown => None,
    }
}

/// Returns the user of the client at `peer` of a connection that was accepted at `local`.
pub(super) fn peer_user(peer: SocketAddr, local: SocketAddr) -> PeerUser {
    match (peer, local) {
        (SocketAddr::V4(peer), SocketAddr::V4(local)) => {
            diagnosed_user(peer, local).unwrap_or_else(|| listed_user(peer, local))
        }
        _ => PeerUser::Unknown,
    }
}

/// Returns the user of a socket: without an inode no process has it, and its user id is meaningless.
const fn socket_user(uid: u32, inode: u64) -> PeerUser {
    if inode == 0 { PeerUser::Closed } else { PeerUser::Uid(uid) }
}

/// Asks the kernel for the client's socket; `None` when it has no answer.
#[cfg(target_os = "linux")]
fn diagnosed_user(peer: SocketAddrV4, local: SocketAddrV4) -> Option<PeerUser> {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

    /// `SOCK_DIAG_BY_FAMILY`, the type of request and reply.
    const MESSAGE_TYPE: u16 = 20;
    /// Offsets of `idiag_uid` and `idiag_inode` in the reply: header, state, socket id, and three numbers before them.
    const UID_OFFSET: usize = 16 + 4 + 48 + 12;
    const INODE_OFFSET: usize = UID_OFFSET + 4;

    let protocol = Some(netlink::SOCK_DIAG);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol).ok()?;
    send(&socket, &diagnosis_request(peer, local, MESSAGE_TYPE), SendFlags::empty()).ok()?;
    // The kernel has replied when `send` returns.
    let mut reply = [0; 512];
    let (_, length) = recv(&socket, &mut reply, RecvFlags::DONTWAIT).ok()?;
    let reply = reply.get(..length).filter(|reply| reply.len() >= INODE_OFFSET + 4)?;
    let number = |at: usize| Some(u32::from_ne_bytes(reply.get(at..at + 4)?.try_into().ok()?));
    (reply[4..6] == MESSAGE_TYPE.to_ne_bytes()).then_some(())?;
    Some(socket_user(number(UID_OFFSET)?, number(INODE_OFFSET)?.into()))
}

#[cfg(not(target_os = "linux"))]
const fn diagnosed_user(_: SocketAddrV4, _: SocketAddrV4) -> Option<PeerUser> {
    None
}

/// Returns a `nlmsghdr` with a `inet_diag_req_v2` for the TCP socket that is bound to `peer` and connected to `local`.
#[cfg(target_os = "linux")]
fn diagnosis_request(peer: SocketAddrV4, local: SocketAddrV4, message_type: u16) -> Vec<u8> {
    const LENGTH: u32 = 72;
    const REQUEST_FLAG: u16 = 1;
    const IPV4_TCP: [u8; 4] = [2, 6, 0, 0];

    let address = |ip: &Ipv4Addr| [ip.octets(), [0; 4], [0; 4], [0; 4]].concat();
    [
        &LENGTH.to_ne_bytes()[..],
        &message_type.to_ne_bytes(),
        &REQUEST_FLAG.to_ne_bytes(),
        // Sequence number and port id.
        &[0; 8],
        &IPV4_TCP,
        // All states.
        &u32::MAX.to_ne_bytes(),
        &peer.port().to_be_bytes(),
        &local.port().to_be_bytes(),
        &address(peer.ip()),
        &address(local.ip()),
        // Any interface, no cookie.
        &[0; 4],
        &[0xff; 8],
    ]
    .concat()
}

/// Looks up the client's socket in the kernel's tables of TCP sockets (proc(5)); sockets of IPv6 programs are in the
/// second one.
fn listed_user(peer: SocketAddrV4, local: SocketAddrV4) -> PeerUser {
    let tables = [("/proc/net/tcp", ""), ("/proc/net/tcp6", "0000000000000000FFFF0000")];
    for (path, prefix) in tables {
        let Ok(table) = std::fs::read_to_string(path) else { continue };
        let name = |address: SocketAddrV4| {
            format!("{prefix}{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
        };
        let (own, other) = (name(peer), name(local));
        let entry = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).find(|fields| {
            fields.get(1).is_some_and(|field| *field == own) && fields.get(2).is_some_and(|field| *field == other)
        });
        let field = |index: usize| entry.as_ref()?.get(index)?.parse::<u64>().ok();
        if let (Some(Ok(uid)), Some(inode)) = (field(7).map(u32::try_from), field(9)) {
            return socket_user(uid, inode);
        }
    }
    PeerUser::Unknown
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use http::HeaderValue;

    use super::*;

    const ADDRESS: &str = "127.0.0.1:9001";

    fn headers(entries: &[(&'static str, &'static str)]) -> HeaderMap {
        entries.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn is_foreign(target: &'static str, entries: &[(&'static str, &'static str)]) -> bool {
        foreign_request(ADDRESS, &Uri::from_static(target), &headers(entries)).is_some()
    }

    #[test]
    fn only_the_address_itself_is_a_host() {
        assert!(!is_foreign("/next", &[("host", ADDRESS), ("user-agent", "runtime")]));
        for host in
            ["localhost:9001", "127.0.0.1", "127.0.0.1:9002", "evil.example:9001", "127.0.0.1:9001.evil.example"]
        {
            assert!(is_foreign("/next", &[("host", host)]), "{host}");
        }
        assert!(is_foreign("/next", &[]), "HTTP/1.0");
        assert!(is_foreign("http://evil.example/next", &[("host", ADDRESS)]), "absolute form");
        let mut two = headers(&[("host", ADDRESS)]);
        two.append(HOST, HeaderValue::from_static(ADDRESS));
        assert!(foreign_request(ADDRESS, &Uri::from_static("/next"), &two).is_some());
    }

    #[test]
    fn requests_of_browsers_are_foreign() {
        for header in ["origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-user"] {
            assert!(is_foreign("/next", &[("host", ADDRESS), (header, "null")]), "{header}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_user_of_a_connection_is_found_both_ways() {
        let own = PeerUser::Uid(rustix::process::geteuid().as_raw());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        // The second client is an IPv6 socket, as those of Java.
        let mapped = SocketAddr::new(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), local.port());
        for address in [local, mapped] {
            let client = TcpStream::connect(address).unwrap();
            let (_accepted, peer) = listener.accept().unwrap();
            let (SocketAddr::V4(peer), SocketAddr::V4(local)) = (peer, local) else { panic!("the listener is IPv4") };
            assert_eq!(diagnosed_user(peer, local), Some(own), "{address}");
            assert_eq!(listed_user(peer, local), own, "{address}");
            drop(client);
            assert_ne!(peer_user(peer.into(), local.into()), own, "{address}: no process has the socket");
        }
    }
}
