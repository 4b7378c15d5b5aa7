//! Tests with tokens as identity providers write them, from their documentation.

use serde_json::json;

use super::*;
use crate::identity::Identity;

fn claims(value: &Value) -> RawClaims {
    RawClaims::parse(value.to_string().as_bytes()).unwrap()
}

fn mapping(user: &str, role: &str, tenant: &str, admin: &str) -> ClaimMapping {
    ClaimMapping {
        user: user.parse().unwrap(),
        role: role.parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        admin_roles: vec![admin.to_owned()],
        ..ClaimMapping::default()
    }
}

/// Returns user, role and tenant, or the name of the rejected claim.
fn mapped(mapping: &ClaimMapping, value: &Value) -> Result<(String, Role, String), String> {
    let claims = claims(value);
    let read = || -> Result<_, ClaimError> {
        let (user, tenant) = (mapping.user_of(&claims)?, mapping.tenant_of(&claims)?);
        Ok((user.into(), mapping.role_of(&claims)?, tenant.into()))
    };
    read().map_err(|ClaimError(name)| name.to_string())
}

#[test]
fn tokens_of_common_providers_are_mapped() {
    let keycloak = json!({
        "iss": "https://id.example/realms/acme", "aud": ["chat", "account"], "sub": "f:8c1d:alice", "azp": "chat",
        "realm_access": {"roles": ["offline_access", "uma_authorization", "support-admin"]},
        "resource_access": {"chat.web": {"roles": ["support-admin"]}}, "scope": "openid email profile",
    });
    let cognito = json!({
        "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "cognito:groups": ["support-admin", "test"], "client_id": "xxx",
        "iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_example", "token_use": "access",
        "scope": "aws.cognito.signin.user.admin", "username": "alice", "custom:tenant": "Acme GmbH",
    });
    let auth0 = json!({
        "iss": "https://acme.eu.auth0.com/", "sub": "google-oauth2|1073", "aud": ["https://chat.example/api"],
        "https://chat.example/roles": ["support-admin"], "permissions": ["read:all"], "org_id": "org_9ybsU1dN2dKfDkBi",
    });
    let entra = json!({
        "iss": "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0", "roles": ["support-admin"],
        "oid": "00aa00aa-bb11-cc22-dd33-44ee44ee44ee", "sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
        "tid": "aaaabbbb-0000-cccc-1111-dddd2222eeee", "scp": "user.read support-admin",
    });
    let kubernetes = json!({"sub": "system:serviceaccount:ns:name", "kubernetes.io": {"namespace": "ns"}});
    let admin = "support-admin";
    for (mapping, token, expected) in [
        (
            mapping("sub", "realm_access.roles", "tenant", admin),
            &keycloak,
            ("f%3A8c1d%3Aalice", Role::Admin, "default"),
        ),
        (
            mapping("sub", "/resource_access/chat.web/roles", "azp", admin),
            &keycloak,
            ("f%3A8c1d%3Aalice", Role::Admin, "chat"),
        ),
        (
            mapping("username", "cognito:groups", "custom:tenant", admin),
            &cognito,
            ("alice", Role::Admin, "Acme%20GmbH"),
        ),
        (
            mapping("sub", "https://chat.example/roles", "org_id", admin),
            &auth0,
            ("google-oauth2|1073", Role::Admin, "org_9ybsU1dN2dKfDkBi"),
        ),
        (
            mapping("oid", "roles", "tid", admin),
            &entra,
            ("00aa00aa-bb11-cc22-dd33-44ee44ee44ee", Role::Admin, "aaaabbbb-0000-cccc-1111-dddd2222eeee"),
        ),
        (
            mapping("oid", "scp", "tid", admin),
            &entra,
            ("00aa00aa-bb11-cc22-dd33-44ee44ee44ee", Role::Admin, "aaaabbbb-0000-cccc-1111-dddd2222eeee"),
        ),
        (
            mapping("sub", "role", "/kubernetes.io/namespace", admin),
            &kubernetes,
            ("system%3Aserviceaccount%3Ans%3Aname", Role::User, "ns"),
        ),
    ] {
        let (user, role, tenant) = expected;
        assert_eq!(mapped(&mapping, token), Ok((user.to_owned(), role, tenant.to_owned())), "{mapping:?}");
    }
}

#[test]
fn the_role_with_the_most_permissions_counts_and_foreign_words_mean_user() {
    let mut settings = ClaimMapping { service_roles: vec!["backend".to_owned(), "job".to_owned()], ..<_>::default() };
    let role =
        |settings: &ClaimMapping, role: Value| mapped(settings, &json!({"sub": "a", "role": role})).map(|it| it.1);
    assert_eq!(role(&settings, json!(["user", "job", "admin"])), Ok(Role::Admin));
    assert_eq!(role(&settings, json!(["user", "job"])), Ok(Role::Service));
    for foreign in [json!("editor"), json!("Admin"), json!("super admin"), json!([]), json!(null), json!("service")] {
        assert_eq!(role(&settings, foreign.clone()), Ok(Role::User), "{foreign}");
    }
    for invalid in [json!(1), json!({"admin": true}), json!(true), json!([["admin"]])] {
        assert_eq!(role(&settings, invalid.clone()), Err("role".to_owned()), "{invalid}");
    }
    settings.user_roles = vec!["chat-user".to_owned()];
    assert_eq!(role(&settings, json!(["chat-user"])), Ok(Role::User));
    for foreign in [json!("editor"), json!([]), json!(null)] {
        assert_eq!(role(&settings, foreign.clone()), Err("role".to_owned()), "{foreign}");
    }
}

#[test]
fn the_error_names_the_configured_claim() {
    let keycloak = mapping("uid", "realm_access.roles", "org.id", "admin");
    assert_eq!(mapped(&keycloak, &json!({"sub": "a"})), Err("uid".to_owned()));
    assert_eq!(mapped(&keycloak, &json!({"uid": 42, "org": {"id": []}})), Err("org.id".to_owned()));
    assert_eq!(
        mapped(&keycloak, &json!({"uid": 42, "realm_access": {"roles": 3}})),
        Err("realm_access.roles".to_owned())
    );
    assert_eq!(mapped(&keycloak, &json!({"uid": 42})), Ok(("42".to_owned(), Role::User, "default".to_owned())));
}

#[test]
fn a_claim_with_dots_in_its_name_precedes_a_path() {
    let path: ClaimPath = "a.b".parse().unwrap();
    let found = |value: Value| path.find_value(value.as_object().unwrap()).cloned();
    assert_eq!(found(json!({"a.b": 1, "a": {"b": 2}})), Some(json!(1)));
    assert_eq!(found(json!({"a": {"b": 2}})), Some(json!(2)));
    assert_eq!(found(json!({"a": [2]})), None);
    for invalid in ["", "a\nb", &"x".repeat(MAX_PATH_BYTES + 1)] {
        assert!(invalid.parse::<ClaimPath>().is_err(), "{invalid:?}");
    }
}

#[test]
fn issued_tokens_are_read_by_the_same_mapping() {
    let mut custom = mapping("/id/user", "realm_access.roles", "/id/tenant", "support-admin");
    custom.user_roles = vec!["chat-user".to_owned()];
    for settings in [ClaimMapping::default(), custom] {
        for role in [Role::User, Role::Admin, Role::Service] {
            let issued = JwtClaims {
                sub: "f:8c1d:alice".to_owned(),
                role,
                tenant: "Acme GmbH".to_owned(),
                exp: Some(1),
                iat: None,
                iss: Some("me".to_owned()),
                aud: None,
                channels: None,
            };
            let token = settings.issued_claims(&issued);
            let expected = ("f%3A8c1d%3Aalice".to_owned(), role, "Acme%20GmbH".to_owned());
            assert_eq!(mapped(&settings, &token), Ok(expected), "{token}");
            assert_eq!((&token["exp"], &token["iss"], token.get("aud")), (&json!(1), &json!("me"), None));
        }
    }
}

#[test]
fn an_encoded_identity_survives_the_authorizer_context() {
    let settings = ClaimMapping::default();
    let claims = claims(&json!({"sub": "Jürgen {1}/2\n", "tenant": "a/b"}));
    let identity = Identity {
        tenant: settings.tenant_of(&claims).unwrap_or_else(|_| unreachable!()),
        user: settings.user_of(&claims).unwrap_or_else(|_| unreachable!()),
        role: Role::User,
        expires_at: None,
    };
    assert_eq!(Identity::from_context(&identity.to_context()), Ok(identity));
}

#[test]
fn granted_channels_come_from_a_list_or_a_text_and_else_from_the_default() {
    let granted = |mapping: &ClaimMapping, token: Value| {
        mapping
            .channels_of(&claims(&token))
            .map(|grants| grants.to_string())
            .map_err(|ClaimError(name)| name.to_string())
    };
    let open = ClaimMapping::default();
    assert_eq!(granted(&open, json!({"channels": ["room:a", "topic:b*"]})), Ok("room:a,topic:b*".to_owned()));
    assert_eq!(granted(&open, json!({"channels": "room:a topic:b*"})), Ok("room:a,topic:b*".to_owned()));
    assert_eq!(granted(&open, json!({"channels": []})), Ok("none".to_owned()));
    for absent in [json!({}), json!({"channels": null})] {
        assert_eq!(granted(&open, absent), Ok("room:*,topic:*".to_owned()));
    }
    for wrong in [json!("everyone"), json!(["room:a", 7]), json!({"room": "a"}), json!(true), json!(["email"])] {
        assert_eq!(granted(&open, json!({ "channels": wrong })), Err("channels".to_owned()), "fails closed");
    }
    let mut private = ClaimMapping::default();
    for (key, value) in [("auth.channels_claim", "app.rooms"), ("auth.default_channels", "none")] {
        let key = ClaimMapping::KEYS.iter().find(|candidate| candidate.path == key).unwrap();
        private.set(key, &[value.to_owned()]).unwrap();
    }
    assert_eq!(granted(&private, json!({"channels": "room:a"})), Ok("none".to_owned()));
    assert_eq!(granted(&private, json!({"app": {"rooms": ["room:a"]}})), Ok("room:a".to_owned()));
}
