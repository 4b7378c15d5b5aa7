//! `bench_server`: the shim as measured by the benchmarks, one process with in-process handlers and production
//! settings otherwise.
//!
//! `echo` is the event path alone (frame, event, a handler that replies, frame); `app` is the messaging application
//! with in-memory stores and its authorizer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use aws_lambda_events::apigw::ApiGatewayProxyResponse;
use clap::{Parser, ValueEnum};
use futures_util::future::BoxFuture;
use gateway::api::{ApiDefinition, ApiSettings, RouteDefinition, WebSocketApi};
use gateway::authorizer::AuthorizerInvocationError;
use gateway::event::{AuthorizerEvent, ConnectEvent, DisconnectEvent, MessageEvent};
use gateway::quotas::Quotas;
use gateway::reply::IntegrationReply;
use gateway::route::{RouteKey, RouteOrdering, RouteResponse};
use shim::access::AccessControl;
use shim::config::{Config, LogStorage, ManagementAccess, RateConfig};
use shim::connection::{ConnectionIds, ConnectionLifecycle};
use shim::functions::{ApiFunctions, ApiIntegration, AuthorizerResult, IntegrationResult, catch_panics};
use shim::running::{Background, ListeningServer};
use shim::server::{ApiServer, ApiServerParts};
use tokio::io::AsyncReadExt;
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Server to measure.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A handler that returns the body of its event.
    Echo,
    /// The messaging application.
    App,
}

#[derive(Debug, Parser)]
struct Arguments {
    /// Server to measure.
    #[arg(long)]
    kind: Kind,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// HS256 secret of the tokens (`app`).
    #[arg(long, default_value = "bench-secret-bench-secret-bench-secret")]
    secret: String,
}

/// Functions that reply with the body of their event.
struct Echo;

impl ApiFunctions for Echo {
    fn invoke_authorizer(&self, _: AuthorizerEvent<'_>) -> BoxFuture<'static, AuthorizerResult> {
        Box::pin(async { Err(AuthorizerInvocationError::NotInvokable) })
    }

    fn invoke_connect(&self, _: ConnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        catch_panics("connect", async { reply(None) })
    }

    fn invoke_message(&self, event: MessageEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        let event = event.into_lambda_event();
        catch_panics("message", async { reply(event.body) })
    }

    fn invoke_disconnect(&self, _: DisconnectEvent<'_>) -> BoxFuture<'static, IntegrationResult> {
        catch_panics("disconnect", async { reply(None) })
    }
}

fn reply(body: Option<String>) -> IntegrationResult {
    let mut response = ApiGatewayProxyResponse::default();
    response.status_code = 200;
    response.body = body.map(aws_lambda_events::encodings::Body::Text);
    IntegrationReply::from_lambda_response(response)
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = Config::for_tests();
    config.server.listen = arguments.listen;
    config.server.ops_listen = "127.0.0.1:0".parse()?;
    config.server.management = ManagementAccess::Off;
    // The benchmarks measure the message path, not API Gateway's rate limits.
    config.throttle.requests = RateConfig::UNLIMITED;
    config.throttle.connections = RateConfig::UNLIMITED;
    config.throttle.connection_messages = RateConfig::UNLIMITED;
    config.storage.log = LogStorage::Memory;
    config.storage.data_dir = PathBuf::new();
    let (server, http_api, background) = match arguments.kind {
        Kind::Echo => (echo_server(&config)?, None, Background::default()),
        Kind::App => {
            config.auth.secret = Some(shim::secret::Secret::new(arguments.secret.as_str()));
            let wired = shim::wiring::assemble_embedded(&config).await?;
            (wired.server, wired.http_api, wired.background)
        }
    };
    let running = ListeningServer::start(&config.server, server, ManagementAccess::Off, http_api)?;
    let running = running.with_background(background, &config.drain);
    println!("listening on {}", running.traffic_address);
    // Exits with the parent process, which holds the other end of standard input.
    let mut input = Vec::new();
    tokio::io::stdin().read_to_end(&mut input).await.context("cannot read standard input")?;
    Ok(())
}

fn echo_server(config: &Config) -> anyhow::Result<ApiServer> {
    let route = RouteDefinition {
        response: RouteResponse::TwoWay,
        ordering: RouteOrdering::Connection,
        ..RouteDefinition::lambda(RouteKey::DEFAULT, "echo")
    };
    let connect = RouteDefinition::lambda(RouteKey::CONNECT, "echo");
    let disconnect = RouteDefinition::lambda(RouteKey::DISCONNECT, "echo");
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
        quotas: Quotas { request_rate: None, connect_rate: None, ..Quotas::aws_profile() },
        settings: ApiSettings::default(),
    };
    let api = WebSocketApi::new(api)?;
    let parts = ApiServerParts {
        access: AccessControl::new(&api),
        integration: ApiIntegration {
            api: Arc::new(api),
            functions: Arc::new(Echo),
            clock: Arc::new(system_clock::SystemClock),
        },
        ids: ConnectionIds::with_random_seed(1)?,
        lifecycle: ConnectionLifecycle::plain(TaskTracker::new()),
        remote: None,
        metrics: shim::metrics::ShimMetrics::new(),
    };
    Ok(ApiServer::new(parts, &config.server, &config.session))
}
