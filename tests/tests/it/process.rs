//! The process itself: how it starts or says why not, how it stops, what it writes, and what a full disk does to it.

mod disk;
mod drain;
mod logs;
mod start;

use tests::client::{Client, ClientHandshake};
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

/// What `sysexits.h` calls `EX_USAGE`: the configuration or the command line is mistaken.
const USAGE: Option<i32> = Some(64);
/// `EX_UNAVAILABLE`: something that is needed is not there.
const UNAVAILABLE: Option<i32> = Some(69);

fn dial(server: &TwinwayServer, grant: &TokenClaims) -> ClientHandshake {
    Client::dial(&server.socket_url(), &grant.user).with_token(&sign_token(SECRET, grant))
}
