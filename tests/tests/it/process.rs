//! The server process: start-up errors, late dependencies, shutdown, output, and a full disk.

mod dependencies;
mod descriptors;
mod disk;
mod drain;
mod logs;
mod start;

use tests::client::{Client, ClientHandshake};
use tests::server::{SECRET, TwinwayServer};
use tests::world::{TokenClaims, sign_token};

/// `EX_USAGE` of `sysexits.h`: an invalid configuration or command line.
const USAGE: Option<i32> = Some(64);
/// `EX_UNAVAILABLE`: a required resource is not available.
const UNAVAILABLE: Option<i32> = Some(69);

fn dial(server: &TwinwayServer, claims: &TokenClaims) -> ClientHandshake {
    Client::dial(&server.socket_url(), &claims.user).with_token(&sign_token(SECRET, claims))
}
