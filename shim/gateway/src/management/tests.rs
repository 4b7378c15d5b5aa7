//! `@connections`, by the CX rows of the catalogue.

use proptest::prelude::*;

use super::*;
use crate::samples::gateway_id;

fn target(path: &str) -> Result<String, ManagementError> {
    parse_management_path(path, "prod", &[]).map(|target| target.connection_id.to_string())
}

#[test]
fn cx_1_and_2_all_encodings_refer_to_the_same_connection() {
    for path in [
        "/prod/@connections/L0SM9cOFvHcCIhw=",
        "/prod/@connections/L0SM9cOFvHcCIhw%3D",
        "/prod/%40connections/L0SM9cOFvHcCIhw%3d",
        "/@connections/L0SM9cOFvHcCIhw%3D",
        "/%40connections/L0SM9cOFvHcCIhw=",
        "/prod/@connections/%4C0SM9cOFvHcCIhw=",
    ] {
        assert_eq!(target(path), Ok("L0SM9cOFvHcCIhw=".to_owned()), "{path}");
        assert!(is_management_path(path));
    }
}

#[test]
fn cx_4_another_stage_or_form_is_forbidden() {
    for path in [
        "/dev/@connections/L0SM9cOFvHcCIhw=",
        "/Prod/@connections/L0SM9cOFvHcCIhw=",
        "//@connections/L0SM9cOFvHcCIhw=",
        "/prod/@connections",
        "/prod/@connections/",
        "/prod/@connections/L0SM9cOFvHcCIhw=/x",
        "/prod/@connections/L0SM9cOFvHcCIhw=/",
        "/prod",
        "/",
        "",
        "prod/@connections/L0SM9cOFvHcCIhw=",
    ] {
        assert_eq!(target(path), Err(ManagementError::Forbidden), "{path}");
    }
}

#[test]
fn cx_1_a_base_path_takes_the_place_of_the_stage() {
    let paths = ["v1", "a/b"].map(|path| crate::base_path::BasePath::parse(path).unwrap());
    let is_served = |prefix: &str| {
        let path = format!("{prefix}/@connections/L0SM9cOFvHcCIhw=");
        assert!(is_management_path(&path));
        parse_management_path(&path, "prod", &paths).is_ok()
    };
    for prefix in ["", "/prod", "/v1", "/a/b", "/%61/b"] {
        assert!(is_served(prefix), "{prefix}");
    }
    for prefix in ["/a", "/a%2Fb", "/v1/", "/prod/v1", "/b"] {
        assert!(!is_served(prefix), "{prefix}");
    }
}

#[test]
fn malformed_ids_are_bad_requests() {
    let ids = ["test-connection-123", "550e8400-e29b-41d4-a716-446655440000", "a%2Fb", "%FF", "L0SM9cOFvHcCIhw%253D"];
    for text in ids {
        let error = target(&format!("/prod/@connections/{text}")).unwrap_err();
        assert_eq!((error.status().as_u16(), error.error_type()), (400, "BadRequestException"), "{text}");
    }
    let body = target("/prod/@connections/test-connection-123").unwrap_err().response_body();
    assert_eq!(body, r#"{"message":"Invalid connectionId: test-connection-123"}"#);
}

#[test]
fn other_paths_are_not_management() {
    for path in ["/", "", "/prod", "/v1/messages", "/connections/x", "@connections/x"] {
        assert!(!is_management_path(path), "{path}");
    }
}

#[test]
fn cx_20_every_error_has_status_type_and_a_body_that_sdks_can_parse() {
    use ManagementError::*;
    let access = AccessDenied { caller: "arn:c".to_owned(), resource: "arn:r".to_owned() };
    let all = [
        (Gone, 410, "GoneException"),
        (MalformedId("\"\\\u{1}".to_owned()), 400, "BadRequestException"),
        (Forbidden, 403, "ForbiddenException"),
        (MissingAuthenticationToken, 403, "MissingAuthenticationTokenException"),
        (Signature(crate::iam::SignatureError::Mismatch), 403, "InvalidSignatureException"),
        (access, 403, "AccessDeniedException"),
        (PayloadTooLarge, 413, "PayloadTooLargeException"),
        (InvalidPayload, 400, "BadRequestException"),
        (LimitExceeded, 429, "LimitExceededException"),
        (Internal, 500, "InternalServerErrorException"),
    ];
    for (error, status, error_type) in all {
        assert_eq!((error.status().as_u16(), error.error_type()), (status, error_type));
        let body = error.response_body();
        let json = serde_json::from_str::<serde_json::Value>(&body);
        assert!(body.is_empty() || json.is_ok_and(|json| json.is_object()), "{body}");
    }
    assert_eq!((Gone.response_body(), LimitExceeded.response_body()), (String::new(), String::new()));
    assert_eq!(Forbidden.response_body(), r#"{"message":"Forbidden"}"#);
}

#[test]
fn cx_10_and_11_description_equals_the_capture() {
    let description = ConnectionDescription {
        connected_at: 1_738_547_193_523,
        source_ip: "203.0.113.7",
        user_agent: None,
        last_active_at: 1_738_547_196_076,
    };
    let expected = r#"{"connectedAt":"2025-02-03T01:46:33.523Z","identity":{"sourceIp":"203.0.113.7","userAgent":null},"lastActiveAt":"2025-02-03T01:46:36.076Z"}"#;
    assert_eq!(String::from_utf8(description.to_json()).unwrap(), expected);
    assert!(!format!("{description:?}").contains("203"));
}

#[test]
fn methods_have_their_operations_and_statuses() {
    let success =
        |method| ManagementOperation::from_method(&method).map(|operation| operation.success_status().as_u16());
    assert_eq!((success(Method::POST), success(Method::GET), success(Method::DELETE)), (Ok(200), Ok(200), Ok(204)));
    assert_eq!(success(Method::PUT), Err(ManagementError::MissingAuthenticationToken));
}

proptest! {
    #[test]
    fn cx_2_paths_never_panic(path in "[/@a-c%0-9A-F=é]{0,40}|/prod/@connections/.{0,20}") {
        match parse_management_path(&path, "prod", &[]) {
            Ok(_) => prop_assert!(is_management_path(&path)),
            Err(error) => prop_assert!(matches!(error.status().as_u16(), 400 | 403)),
        }
    }

    #[test]
    fn cx_2_every_id_is_found_however_it_is_escaped(entropy: u64, node: u16, escape: u16) {
        let connection = crate::id::GatewayId::for_connection(entropy, node);
        let escaped: String = connection.char_indices()
            .map(|(at, c)| if escape >> at & 1 == 1 { format!("%{:02X}", u32::from(c)) } else { c.to_string() })
            .collect();
        let found = parse_management_path(&format!("/prod/@connections/{escaped}"), "prod", &[]).unwrap();
        prop_assert_eq!(found.connection_id, gateway_id(&connection));
    }
}
