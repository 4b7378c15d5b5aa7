//! Tests of `$connect`: identity, subprotocol, record, presence.

use std::time::Duration;

use http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use serde_json::json;

use crate::app::HandlerError;
use crate::app::test_app::{ConnectedClient, NOW, TestApp, test_identity, websocket_event};
use crate::channel_policy::ChannelGrants;
use crate::id::{ConnectionId, TokenId, UserId};
use crate::identity::Role;
use crate::ports::{Revocation, RevokedSubject};

fn unregistered_client(id: &str) -> ConnectedClient {
    let grants = ChannelGrants::default();
    ConnectedClient { id: ConnectionId::parse(id).unwrap(), identity: test_identity("alice", Role::User), grants }
}

#[tokio::test]
async fn the_connection_is_registered_with_its_identity_and_no_channels() {
    let fixture = TestApp::new();
    let alice = fixture.connect("a1", "alice", Role::User).await;
    let record = fixture.app.connections.find_connection(&alice.id).await.unwrap().unwrap();
    assert_eq!((record.identity, record.connected_at), (alice.identity.clone(), NOW));
    assert!(record.channels.is_empty());
    assert_eq!(fixture.received_frames(&alice), [json!(null); 0], "nothing is posted before the 101");
}

#[tokio::test]
async fn a_handshake_without_an_identity_is_rejected() {
    let fixture = TestApp::new();
    let mut event = websocket_event(&unregistered_client("a1"), "$connect", None);
    event.request_context.authorizer.fields.clear();
    let response = fixture.app.handle_connect(event).await.unwrap();
    assert_eq!(response.status_code, 401);
    assert_eq!(fixture.app.connections.find_connection(&unregistered_client("a1").id).await.unwrap(), None);
}

/// The revocation is read after the record is written, so no connection escapes both the listing and this check.
#[tokio::test]
async fn a_handshake_with_a_revoked_token_is_rejected_and_leaves_no_record() {
    let fixture = TestApp::new();
    let connect = async |iat: Option<i64>, jti: &str| {
        let mut event = websocket_event(&unregistered_client("a1"), "$connect", None);
        let context = &mut event.request_context.authorizer.fields;
        context.extend(iat.map(|iat| ("iat".to_owned(), json!(iat.to_string()))));
        context.insert("jti".to_owned(), json!(jti));
        fixture.app.handle_connect(event).await.unwrap().status_code
    };
    let now = NOW.unix_seconds();
    let subjects = [
        RevokedSubject::User(UserId::parse("alice").unwrap()),
        RevokedSubject::Token(TokenId::parse("stolen").unwrap()),
    ];
    for subject in subjects {
        let (tenant, expires_at) = (test_identity("alice", Role::User).tenant, NOW.plus(Duration::from_secs(60)));
        let revocation = Revocation { tenant, subject, issued_before: now, expires_at };
        fixture.app.access.revocations.put_revocation(&revocation).await.unwrap();
    }
    for (iat, jti, status) in
        [(Some(now - 1), "a", 401), (None, "a", 401), (Some(now), "stolen", 401), (Some(now), "a", 200)]
    {
        assert_eq!(connect(iat, jti).await, status, "{iat:?} {jti}");
        let record = fixture.app.connections.find_connection(&unregistered_client("a1").id).await.unwrap();
        assert_eq!(record.is_some(), status == 200, "{iat:?} {jti}");
    }
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(connect(Some(now - 1), "stolen").await, 200, "the revocations have expired");
}

#[tokio::test]
async fn an_event_without_a_connection_id_fails() {
    let mut event = websocket_event(&unregistered_client("a1"), "$connect", None);
    event.request_context.connection_id = None;
    let error = TestApp::new().app.handle_connect(event).await.unwrap_err();
    assert!(matches!(error, HandlerError::MissingField("requestContext.connectionId")), "{error:?}");
}

#[tokio::test]
async fn the_subprotocol_is_echoed_when_offered_and_a_token_never_is() {
    let fixture = TestApp::new();
    let offers = [
        ("twinway.v1, bearer.abc.def.ghi", true),
        ("bearer.abc.def.ghi,twinway.v1", true),
        ("bearer.abc.def.ghi", false),
        ("twinway.v10", false),
    ];
    for (offer, echoed) in offers {
        for multi_value in [false, true] {
            let mut event = websocket_event(&unregistered_client("a1"), "$connect", None);
            let headers = if multi_value { &mut event.multi_value_headers } else { &mut event.headers };
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offer));
            let response = fixture.app.handle_connect(event).await.unwrap();
            let expected = echoed.then_some(HeaderValue::from_static("twinway.v1"));
            assert_eq!(response.headers.get(SEC_WEBSOCKET_PROTOCOL), expected.as_ref(), "{offer:?}");
        }
    }
}

#[tokio::test]
async fn admins_are_notified_of_a_users_first_connection_only() {
    let fixture = TestApp::new();
    let admin = fixture.connect("c1", "carol", Role::Admin).await;
    let bob = fixture.connect("b1", "bob", Role::User).await;
    fixture.received_frames(&admin);
    fixture.connect("a1", "alice", Role::User).await;
    fixture.connect("a2", "alice", Role::User).await;
    fixture.connect("d1", "dora", Role::Admin).await;
    let online = json!({
        "type": "presence", "channel": "conversation:alice", "user": "alice", "role": "user", "state": "online"
    });
    assert_eq!(fixture.received_frames(&admin), [online]);
    assert_eq!(fixture.received_frames(&bob), [json!(null); 0], "other users are not notified");
}
