//! HTTP APIs of a template.

use serde_json::json;

use super::Fixture;

const TEXT: &str = r#"
[routes]
"$default" = "rooms"
[http_routes]
"GET /rooms/{id}" = "rooms"
"GET /rooms/first" = "users"
"ANY /files/{proxy+}" = { function = "users", payload = "1.0" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_routes_select_their_function_and_payload() {
    let fixture = Fixture::new(TEXT, &["rooms", "users"]);
    let mut server = fixture.launch().start().await;
    let room = server.http().get("/rooms/a%20b?x=1").await.expect_ok();
    assert_eq!((&room["function"], &room["routeKey"]), (&json!("rooms"), &json!("GET /rooms/{id}")));
    assert_eq!((&room["parameters"], &room["version"]), (&json!({"id": "a b"}), &json!("2.0")));
    let first = server.http().get("/rooms/first").await.expect_ok();
    assert_eq!((&first["function"], &first["routeKey"]), (&json!("users"), &json!("GET /rooms/first")));
    let file = server.http().post("/files/a/b.txt", &json!({"x": 1})).await.expect_ok();
    assert_eq!((&file["version"], &file["path"]), (&json!("1.0"), &json!("/files/a/b.txt")));
    assert_eq!(file["parameters"], json!({"proxy": "a/b.txt"}));
    let unknown = server.http().get("/other").await;
    assert_eq!((unknown.status, unknown.json()), (404, json!({"message": "Not Found"})));
    assert_eq!(server.http().get("/prod").await.status, 426, "the WebSocket API keeps its path");
    server.stop().await;
}
