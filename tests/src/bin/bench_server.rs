//! The shim as the benchmarks measure it: one process, in-process handlers, everything else as in production.
//!
//! `echo` is the event path alone (frame, event, a handler that replies, frame); `app` is the messaging application with
//! its stores in memory, behind its authorizer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use aws_lambda_events::apigw::ApiGatewayProxyResponse;
use clap::{Parser, ValueEnum};
use futures_util::future::BoxFuture;
use gateway::api::{Api, ApiDefinition, ApiSettings, RouteDefinition};
use gateway::authorizer::AuthorizerFailure;
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::quotas::Quotas;
use gateway::reply::Reply;
use gateway::route::{Ordering, RouteKey, RouteResponse};
use shim::access::Access;
use shim::config::{Config, LogStorage, Management, RateConfig};
use shim::connection::{ConnectionIds, ConnectionLifecycle};
use shim::functions::{Answer, ApiIntegration, Functions, Verdict, guarded};
use shim::running::{Background, Running};
use shim::server::{ApiServer, ApiServerParts};
use tokio::io::AsyncReadExt;
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is measured.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A handler that returns the body of its event.
    Echo,
    /// The messaging application.
    App,
}

#[derive(Debug, Parser)]
struct Arguments {
    /// What is measured.
    #[arg(long)]
    kind: Kind,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The HS256 secret of the tokens (`app`).
    #[arg(long, default_value = "bench-secret-bench-secret-bench-secret")]
    secret: String,
}

/// Replies with what it was sent.
struct Echo;

impl Functions for Echo {
    fn authorize(&self, _: AuthorizerEvent<'_>) -> BoxFuture<'static, Verdict> {
        Box::pin(async { Err(AuthorizerFailure::NotInvokable) })
    }

    fn connect(&self, _: ConnectEvent<'_>) -> BoxFuture<'static, Answer> {
        guarded("connect", async { reply(None) })
    }

    fn message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, Answer> {
        let event = event.typed();
        guarded("message", async { reply(event.body) })
    }

    fn disconnect(&self, _: DisconnectEvent<'_>) -> BoxFuture<'static, Answer> {
        guarded("disconnect", async { reply(None) })
    }
}

fn reply(body: Option<String>) -> Answer {
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = 200;
    response.body = body.map(aws_lambda_events::encodings::Body::Text);
    Reply::from_typed(response)
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = Config::test();
    config.server.listen = arguments.listen;
    config.server.ops_listen = "127.0.0.1:0".parse()?;
    config.server.management = Management::Off;
    // The benchmarks measure the path, not how much API Gateway would let through.
    config.throttle.requests = RateConfig::OFF;
    config.throttle.connections = RateConfig::OFF;
    config.storage.log = LogStorage::Memory;
    config.storage.data_dir = PathBuf::new();
    let (server, http_api, background) = match arguments.kind {
        Kind::Echo => (echo_server(&config)?, None, Background::default()),
        Kind::App => {
            config.auth.secret = Some(shim::secret::Secret::new(arguments.secret.as_str()));
            let wired = shim::wiring::embedded(&config).await?;
            (wired.server, wired.http_api, wired.background)
        }
    };
    let running = Running::start(&config.server, server, Management::Off, http_api)?;
    let running = running.with_background(background, &config.drain);
    println!("listening on {}", running.traffic);
    // Ends with the process that started it, which holds the other end of standard input.
    let mut input = Vec::new();
    tokio::io::stdin().read_to_end(&mut input).await.context("cannot read standard input")?;
    Ok(())
}

fn echo_server(config: &Config) -> anyhow::Result<ApiServer> {
    let route = RouteDefinition {
        key: RouteKey::DEFAULT.to_owned(),
        response: RouteResponse::TwoWay,
        ordering: Ordering::Connection,
    };
    let connect =
        RouteDefinition { key: RouteKey::CONNECT.to_owned(), response: RouteResponse::OneWay, ..route.clone() };
    let disconnect = RouteDefinition { key: RouteKey::DISCONNECT.to_owned(), ..connect.clone() };
    let api = ApiDefinition {
        id: "bench".to_owned(),
        region: "us-east-1".to_owned(),
        account_id: "000000000000".to_owned(),
        stage: "prod".to_owned(),
        stage_variables: BTreeMap::new(),
        routes: vec![connect, disconnect, route],
        selection: "$request.body.action".to_owned(),
        authorizer: None,
        api_key_required: false,
        quotas: Quotas { request_rate: None, connect_rate: None, ..Quotas::aws() },
        settings: ApiSettings::default(),
    };
    let api = Api::new(api)?;
    let parts = ApiServerParts {
        access: Access::new(&api),
        integration: ApiIntegration {
            api: Arc::new(api),
            functions: Arc::new(Echo),
            clock: Arc::new(system_clock::SystemClock),
        },
        ids: ConnectionIds::random(1)?,
        lifecycle: ConnectionLifecycle::plain(TaskTracker::new()),
        remote: None,
        metrics: shim::metrics::Metrics::new(),
    };
    Ok(ApiServer::new(parts, &config.server, &config.session))
}
