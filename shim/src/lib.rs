//! WebSocket server that emulates API Gateway outside AWS.
//!
//! The shim owns the sockets, converts their input into API Gateway events, invokes the handlers with them, and sends
//! the replies. The `gateway` crate defines the behaviour of API Gateway, `handlers` contains the messaging
//! application, and this crate the server, sessions, fan-out, storage and operations.
//!
//! ```no_run
//! use shim::config::{FlagValues, ProcessEnvironment, load_config};
//! use shim::running::ListeningServer;
//! use shim::wiring::assemble_server;
//!
//! # async fn run() -> anyhow::Result<()> {
//! let config = load_config(&ProcessEnvironment, &FlagValues::default(), None).config?;
//! let assembly = assemble_server(&config).await?;
//! let management = config.server.management;
//! let server = ListeningServer::start(&config.server, assembly.server, management, assembly.http_api)?
//!     .with_background(assembly.background, &config.drain);
//! println!("ws://{}/{}", server.traffic_address, config.api.stage);
//! tokio::signal::ctrl_c().await?;
//! server.stop(&config.drain).await;
//! # Ok(())
//! # }
//! ```

pub mod access;
mod breaker;
pub mod bus;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod drain;
pub mod embedded;
pub mod exit_code;
pub mod functions;
mod host_watch;
pub mod hub;
pub mod logging;
pub mod metrics;
pub mod postgres;
pub mod readiness;
pub mod redis;
pub mod running;
pub mod secret;
pub mod serve;
pub mod server;
pub mod session;
pub mod startup;
pub mod wiring;
