//! Mapping of a token's claims to user, role, tenant and granted channels, for tokens of any identity provider.
//!
//! | provider | user | role | tenant | audience |
//! |---|---|---|---|---|
//! | Keycloak | `sub` | `realm_access.roles`, `resource_access.{client}.roles` | | `aud` |
//! | Amazon Cognito | `sub`, `username` | `cognito:groups` | `custom:{name}` | `aud` of id tokens, `client_id` of access tokens |
//! | Auth0 | `sub` | `permissions`, `https://{namespace}/roles` | `org_id` | `aud` |
//! | Microsoft Entra ID | `oid`, `sub` | `roles`, `groups` | `tid` | `aud` |

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::claims::{ClaimError, JwtClaims, RawClaims};
use crate::channel_policy::ChannelGrants;
use crate::id::{TenantId, UserId};
use crate::identity::Role;

/// Longest name or path of a claim, in bytes.
const MAX_PATH_BYTES: usize = 256;

/// Claims that are lists of words separated by spaces (RFC 8693, section 4.2; "Access tokens", Microsoft identity
/// platform).
const SPACE_SEPARATED: [&str; 2] = ["scope", "scp"];

/// Name of a claim (`cognito:groups`, `https://example.com/roles`), path into an object (`realm_access.roles`), or JSON
/// Pointer (`/resource_access/my.client/roles`, RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(Arc<str>);

/// Claims that hold user, role and tenant, and the values that mean a role.
///
/// ```
/// use handlers::authorizer::ClaimMapping;
///
/// let mut keycloak = ClaimMapping::default();
/// keycloak.role = "realm_access.roles".parse()?;
/// keycloak.admin_roles = vec!["support-admin".to_owned()];
/// # Ok::<_, String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMapping {
    /// Claim of the user: text, or a whole number.
    pub user: ClaimPath,
    /// Claim of the role: text, or a list of texts, of which the one with the most permissions counts.
    pub role: ClaimPath,
    /// Claim of the tenant: text, or a whole number. Tokens without it belong to the default tenant.
    pub tenant: ClaimPath,
    /// Values that mean the role `admin`.
    pub admin_roles: Vec<String>,
    /// Values that mean the role `service`.
    pub service_roles: Vec<String>,
    /// Values that mean the role `user`. If empty, every other value does, and so does a token without the claim;
    /// otherwise such tokens are rejected.
    pub user_roles: Vec<String>,
    /// Claim of the rooms and topics that a user may join: a list of patterns, or a text of patterns separated by spaces.
    pub channels: ClaimPath,
    /// Rooms and topics of users whose token has no such claim.
    pub default_channels: ChannelGrants,
}

/// Configuration key of one field of [`ClaimMapping`].
#[derive(Debug, Clone, Copy)]
pub struct ClaimKey {
    /// Key in the server's configuration file, such as `auth.role_claim`.
    pub path: &'static str,
    /// Environment variable of the server and of the Lambda functions.
    pub env: &'static str,
    field: ClaimField,
}

#[derive(Debug, Clone, Copy)]
enum ClaimField {
    Path(fn(&mut ClaimMapping) -> &mut ClaimPath),
    Words(fn(&mut ClaimMapping) -> &mut Vec<String>),
    Grants(fn(&mut ClaimMapping) -> &mut ChannelGrants),
}

impl Default for ClaimMapping {
    fn default() -> Self {
        Self {
            user: ClaimPath(Arc::from("sub")),
            role: ClaimPath(Arc::from("role")),
            tenant: ClaimPath(Arc::from("tenant")),
            admin_roles: vec![Role::Admin.as_str().to_owned()],
            service_roles: vec![Role::Service.as_str().to_owned()],
            user_roles: Vec::new(),
            channels: ClaimPath(Arc::from("channels")),
            default_channels: ChannelGrants::default(),
        }
    }
}

impl std::str::FromStr for ClaimPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let valid = (1..=MAX_PATH_BYTES).contains(&text.len()) && !text.contains(char::is_control);
        if valid { Ok(Self(Arc::from(text))) } else { Err("must be the name or path of a claim".to_owned()) }
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ClaimPath {
    /// Finds the claim: first by its whole name, which may contain dots, then by its path.
    pub(super) fn find_value<'v>(&self, claims: &'v Map<String, Value>) -> Option<&'v Value> {
        if let Some(value) = claims.get(&*self.0) {
            return Some(value);
        }
        if let Some(pointer) = self.0.strip_prefix('/') {
            let mut segments = pointer.split('/').map(|segment| segment.replace("~1", "/").replace("~0", "~"));
            let first = claims.get(&segments.next()?)?;
            return segments.try_fold(first, |value, segment| value.get(&segment));
        }
        let mut segments = self.0.split('.');
        let first = claims.get(segments.next()?)?;
        segments.try_fold(first, |value, segment| value.get(segment))
    }

    /// Writes a claim so that [`find_value`](Self::find_value) returns it.
    fn insert_value(&self, claims: &mut Map<String, Value>, value: Value) {
        let segments: Vec<String> = match self.0.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect(),
            None => vec![self.0.to_string()],
        };
        let nested = segments
            .iter()
            .skip(1)
            .rev()
            .fold(value, |value, name| Value::Object(std::iter::once((name.clone(), value)).collect()));
        let first = segments.into_iter().next().unwrap_or_default();
        match (claims.get_mut(&first), nested) {
            // Two claims of one object, such as two pointers into `realm_access`.
            (Some(Value::Object(present)), Value::Object(more)) => present.extend(more),
            (_, nested) => drop(claims.insert(first, nested)),
        }
    }

    fn is_space_separated(&self) -> bool {
        self.0.rsplit(['.', '/']).next().is_some_and(|name| SPACE_SEPARATED.contains(&name))
    }

    fn error(&self) -> ClaimError {
        ClaimError(self.0.clone())
    }
}

impl ClaimMapping {
    /// The configuration keys of all fields.
    pub const KEYS: [ClaimKey; 8] = [
        claim_key("auth.user_claim", "TWINWAY_AUTH_USER_CLAIM", ClaimField::Path(|mapping| &mut mapping.user)),
        claim_key("auth.role_claim", "TWINWAY_AUTH_ROLE_CLAIM", ClaimField::Path(|mapping| &mut mapping.role)),
        claim_key("auth.tenant_claim", "TWINWAY_AUTH_TENANT_CLAIM", ClaimField::Path(|mapping| &mut mapping.tenant)),
        claim_key(
            "auth.admin_roles",
            "TWINWAY_AUTH_ADMIN_ROLES",
            ClaimField::Words(|mapping| &mut mapping.admin_roles),
        ),
        claim_key(
            "auth.service_roles",
            "TWINWAY_AUTH_SERVICE_ROLES",
            ClaimField::Words(|mapping| &mut mapping.service_roles),
        ),
        claim_key("auth.user_roles", "TWINWAY_AUTH_USER_ROLES", ClaimField::Words(|mapping| &mut mapping.user_roles)),
        claim_key(
            "auth.channels_claim",
            "TWINWAY_AUTH_CHANNELS_CLAIM",
            ClaimField::Path(|mapping| &mut mapping.channels),
        ),
        claim_key(
            "auth.default_channels",
            "TWINWAY_AUTH_DEFAULT_CHANNELS",
            ClaimField::Grants(|mapping| &mut mapping.default_channels),
        ),
    ];

    /// Sets the field of `key` to `values`: the name or path of one claim, a list of words, or patterns of channels.
    ///
    /// # Errors
    /// The rule that the value violates, as text for an operator.
    pub fn set(&mut self, key: &ClaimKey, values: &[String]) -> Result<(), String> {
        match (key.field, values) {
            (ClaimField::Words(field), words) => *field(self) = words.to_vec(),
            (ClaimField::Grants(field), patterns) => {
                let parsed = ChannelGrants::parse(patterns.iter().map(String::as_str));
                *field(self) = parsed.map_err(|error| error.to_string())?;
            }
            (ClaimField::Path(field), [path]) => *field(self) = path.parse()?,
            (ClaimField::Path(_), _) => return Err("must be the name or path of one claim".to_owned()),
        }
        Ok(())
    }

    /// Returns the claims of a token that this mapping reads as `claims`, for tokens that the application issues.
    #[must_use]
    pub fn issued_claims(&self, claims: &JwtClaims) -> Value {
        let mut issued = Map::new();
        let words = match claims.role {
            Role::Admin => &self.admin_roles,
            Role::Service => &self.service_roles,
            Role::User => &self.user_roles,
        };
        let role = words.first().map_or_else(|| claims.role.as_str(), String::as_str);
        self.user.insert_value(&mut issued, Value::from(claims.sub.as_str()));
        self.role.insert_value(&mut issued, Value::from(role));
        self.tenant.insert_value(&mut issued, Value::from(claims.tenant.as_str()));
        if let Some(channels) = &claims.channels {
            self.channels.insert_value(&mut issued, Value::from(channels.as_slice()));
        }
        let dates = [("exp", claims.exp), ("iat", claims.iat)];
        issued.extend(dates.into_iter().filter_map(|(name, date)| Some((name.to_owned(), Value::from(date?)))));
        let texts = [("iss", &claims.iss), ("aud", &claims.aud)];
        issued.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text.as_deref()?.into()))));
        Value::Object(issued)
    }

    pub(super) fn user_of(&self, claims: &RawClaims) -> Result<UserId, ClaimError> {
        let subject = claims.find(&self.user).and_then(subject_text).ok_or_else(|| self.user.error())?;
        UserId::encode(&subject).map_err(|_| self.user.error())
    }

    pub(super) fn tenant_of(&self, claims: &RawClaims) -> Result<TenantId, ClaimError> {
        let Some(value) = claims.find(&self.tenant) else { return Ok(TenantId::default_tenant()) };
        let name = subject_text(value).ok_or_else(|| self.tenant.error())?;
        TenantId::encode(&name).map_err(|_| self.tenant.error())
    }

    /// Returns the rooms and topics of a user.
    pub(super) fn channels_of(&self, claims: &RawClaims) -> Result<ChannelGrants, ClaimError> {
        let patterns = match claims.find(&self.channels) {
            None => return Ok(self.default_channels.clone()),
            Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
            Some(Value::Array(values)) => {
                values.iter().map(Value::as_str).collect::<Option<Vec<_>>>().ok_or_else(|| self.channels.error())?
            }
            Some(_) => return Err(self.channels.error()),
        };
        ChannelGrants::parse(patterns).map_err(|_| self.channels.error())
    }

    pub(super) fn role_of(&self, claims: &RawClaims) -> Result<Role, ClaimError> {
        let words = match claims.find(&self.role) {
            None => Vec::new(),
            Some(Value::String(text)) if self.role.is_space_separated() => text.split_ascii_whitespace().collect(),
            Some(Value::String(text)) => vec![text.as_str()],
            Some(Value::Array(values)) => {
                values.iter().map(Value::as_str).collect::<Option<_>>().ok_or_else(|| self.role.error())?
            }
            Some(_) => return Err(self.role.error()),
        };
        let has_any = |accepted: &[String]| words.iter().any(|word| accepted.iter().any(|one| one == word));
        match () {
            () if has_any(&self.admin_roles) => Ok(Role::Admin),
            () if has_any(&self.service_roles) => Ok(Role::Service),
            () if self.user_roles.is_empty() || has_any(&self.user_roles) => Ok(Role::User),
            () => Err(self.role.error()),
        }
    }

    /// Returns whether a value of the role claim means two roles, or one role and is the name of another.
    #[must_use]
    pub fn has_ambiguous_roles(&self) -> bool {
        let lists =
            [(Role::Admin, &self.admin_roles), (Role::Service, &self.service_roles), (Role::User, &self.user_roles)];
        lists.iter().any(|(role, words)| {
            let others = lists.iter().filter(|(other, _)| other != role);
            others.into_iter().any(|(other, own)| words.iter().any(|word| word == other.as_str() || own.contains(word)))
        })
    }
}

const fn claim_key(path: &'static str, env: &'static str, field: ClaimField) -> ClaimKey {
    ClaimKey { path, env, field }
}

/// Returns the text of a claim that identifies a user, tenant or token; some providers use numbers.
pub(super) fn subject_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
