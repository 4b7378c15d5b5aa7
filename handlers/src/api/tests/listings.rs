//! Tests of connections, rooms, members, history and status.

use super::*;
use crate::ports::CloseReason;

fn ids(listing: &Value) -> Vec<&str> {
    listing["connections"].as_array().unwrap().iter().map(|one| one["connection"].as_str().unwrap()).collect()
}

async fn populated() -> Fixture {
    let fixture = Fixture::new();
    fixture.connect("c1=", "alice", Role::User, &["room:lobby", "topic:prices"]).await;
    fixture.connect("c2=", "alice", Role::User, &[]).await;
    fixture.connect("c3=", "root", Role::Admin, &["room:lobby", "room:attic"]).await;
    fixture.connect_to("other", "c4=", "alice", Role::User, &["room:cellar"]).await;
    fixture
}

#[tokio::test]
async fn connections_are_listed_by_user_role_channel_or_all() {
    let fixture = populated().await;
    for (query, found) in [
        ("", vec!["c1=", "c2=", "c3="]),
        ("?user=alice", vec!["c1=", "c2="]),
        ("?role=admin", vec!["c3="]),
        ("?channel=room:lobby", vec!["c1=", "c3="]),
        ("?channel=conversation%3Aalice", vec!["c1=", "c2=", "c3="]),
        ("?user=a+b@example.com", vec![]),
    ] {
        let listing = fixture.call("GET", &format!("/v1/connections{query}")).await.ok();
        assert_eq!((ids(&listing), &listing["total"]), (found.clone(), &json!(found.len())), "{query}");
    }
}

#[tokio::test]
async fn a_listed_connection_has_identity_times_and_channels() {
    let listing = populated().await.call("GET", "/v1/connections?limit=1").await.ok();
    let connection = json!({
        "connection": "c1=", "user": "alice", "role": "user", "connectedAt": NOW.0, "tokenExpiresAt": NOW.0,
        "channels": ["room:lobby", "topic:prices"],
    });
    assert_eq!(listing["connections"], json!([connection]));
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let fixture = populated().await;
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = fixture.call("GET", &format!("/v1/connections?limit=2{after}")).await.ok();
        assert_eq!(page["total"], 3);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        let next = percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
        after = format!("&after={next}");
    }
    assert_eq!(seen, ["c1=", "c2=", "c3="]);
}

#[tokio::test]
async fn rooms_are_listed_without_topics_and_other_tenants() {
    let fixture = populated().await;
    let rooms = fixture.call("GET", "/v1/rooms").await.ok();
    let listed = json!([{"room": "attic", "connections": 1}, {"room": "lobby", "connections": 2}]);
    assert_eq!((&rooms["rooms"], &rooms["next"]), (&listed, &Value::Null));
    let first = fixture.call("GET", "/v1/rooms?limit=1").await.ok();
    assert_eq!((&first["rooms"][0]["room"], first["next"].is_string()), (&json!("attic"), true));
}

#[tokio::test]
async fn a_room_lists_its_members_and_an_unknown_one_is_empty() {
    let fixture = populated().await;
    let members = fixture.call("GET", "/v1/rooms/lobby/members").await.ok();
    assert_eq!((ids(&members), &members["total"]), (vec!["c1=", "c3="], &json!(2)));
    assert_eq!(ids(&fixture.call("GET", "/v1/rooms/cellar/members").await.ok()), Vec::<&str>::new());
}

#[tokio::test]
async fn a_connection_can_be_closed() {
    let fixture = populated().await;
    let kicked = fixture.call("DELETE", "/v1/connections/c1%3D").await;
    assert_eq!((kicked.status.as_u16(), kicked.body), (204, Value::Null));
    assert_eq!(fixture.delivery.close_reason(&ConnectionId::parse("c1=").unwrap()), Some(CloseReason::Kicked));
    assert_eq!(fixture.call("DELETE", "/v1/connections/c9%3D").await.problem(), "not-found");
}

#[tokio::test]
async fn history_pages_in_both_directions() {
    let fixture = Fixture::new();
    for body in 1..=5 {
        fixture.push(&json!({"audience": "everyone", "body": body})).await.ok();
    }
    for (query, offsets, more) in [
        ("", json!([1, 2, 3, 4, 5]), false),
        ("?limit=2", json!([4, 5]), true),
        ("?before=4&limit=2", json!([2, 3]), true),
        ("?before=2", json!([1]), false),
        ("?after=1&limit=3", json!([2, 3, 4]), true),
        ("?after=4", json!([5]), false),
        ("?after=5", json!([]), false),
    ] {
        let page = fixture.call("GET", &format!("/v1/channels/everyone/history{query}")).await.ok();
        let found: Vec<_> = page["messages"].as_array().unwrap().iter().map(|one| one["offset"].clone()).collect();
        assert_eq!((json!(found), &page["more"]), (offsets, &json!(more)), "{query}");
        assert_eq!((&page["head"], &page["first"], &page["epoch"]), (&json!(5), &json!(1), &json!("e1")));
    }
    let page = fixture.call("GET", "/v1/channels/everyone/history?limit=1").await.ok();
    let from = json!({"user": "billing", "role": "service"});
    assert_eq!(page["messages"], json!([{"offset": 5, "id": "fresh-5", "from": from, "sentAt": NOW.0, "body": 5}]));
}

#[tokio::test]
async fn the_status_counts_the_callers_tenant() {
    let status = populated().await.call("GET", "/v1/status").await.ok();
    let expected = json!({
        "version": env!("CARGO_PKG_VERSION"), "time": NOW.0, "tenant": "acme", "connections": 3, "occupiedChannels": 3,
    });
    assert_eq!(status, expected);
}

#[tokio::test]
async fn all_connections_of_a_user_are_closed_and_no_others() {
    let fixture = Fixture::new();
    let mut of_alice = Vec::new();
    for number in 0..3 {
        of_alice.push(fixture.connect(&format!("a{number}"), "alice", Role::User, &[]).await);
    }
    let bob = fixture.connect("b=", "bob", Role::User, &[]).await;
    let foreign = fixture.connect_to("other", "f=", "alice", Role::User, &[]).await;
    assert_eq!(fixture.call("DELETE", "/v1/connections?user=alice").await.ok(), json!({"closed": 3}));
    for id in &of_alice {
        assert_eq!(fixture.delivery.close_reason(id), Some(CloseReason::Kicked));
    }
    assert_eq!((fixture.delivery.close_reason(&bob), fixture.delivery.close_reason(&foreign)), (None, None));
    for path in ["connections", "connections?user=", "connections?user=alice&role=user", "connections?role=user"] {
        let rejected = fixture.call("DELETE", &format!("/v1/{path}")).await;
        assert_eq!((rejected.status.as_u16(), rejected.problem()), (422, "invalid"), "{path}");
    }
    assert_eq!(fixture.delivery.close_reason(&bob), None, "a request without a user closes nothing");
    let rejected = fixture.call("POST", "/v1/connections").await;
    assert_eq!(
        (rejected.problem(), &rejected.headers["allow"]),
        ("method-not-allowed", &"GET, DELETE".parse().unwrap())
    );
}
