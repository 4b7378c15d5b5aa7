//! Names: logical ids of the framework, and the way back to names of functions.

use std::collections::BTreeMap;

use crate::model::{Application, Authorization, Integration};

/// Returns the logical id of a function.
pub(super) fn function_id(name: &str) -> String {
    format!("{}LambdaFunction", normalized(name))
}

/// Returns the logical id of a layer.
pub(super) fn layer_id(name: &str) -> String {
    format!("{}LambdaLayer", normalized(name))
}

/// The framework's rule: first letter upper case, `-` as `Dash`, `_` as `Underscore`, no other characters.
pub(super) fn normalized(name: &str) -> String {
    let mut result = String::new();
    for (index, character) in name.chars().enumerate() {
        match character {
            '-' => result.push_str("Dash"),
            '_' => result.push_str("Underscore"),
            _ if index == 0 => result.push(character.to_ascii_uppercase()),
            _ if character.is_ascii_alphanumeric() => result.push(character),
            _ => {}
        }
    }
    result
}

/// Replaces logical ids by the names in `functions`.
pub(super) fn rename_functions(application: &mut Application, names: &BTreeMap<String, String>) {
    let renamed = |id: &str| names.get(id).cloned().unwrap_or_else(|| id.to_owned());
    let functions = std::mem::take(&mut application.functions);
    for (id, mut function) in functions {
        if let Some(name) = names.get(&id) {
            function.location.element = format!("functions.{name}");
        }
        application.functions.insert(renamed(&id), function);
    }
    for route in application.websocket_api.iter_mut().flat_map(|api| &mut api.routes) {
        if let Integration::Lambda { function, .. } = &mut route.integration {
            *function = renamed(function);
        }
        if let Authorization::Custom { function, .. } = &mut route.authorization {
            *function = renamed(function);
        }
    }
    for route in application.http_apis.iter_mut().flat_map(|api| &mut api.routes) {
        route.function = renamed(&route.function);
    }
    for finding in &mut application.findings {
        for (id, name) in names {
            finding.message = finding.message.replace(id.as_str(), name);
        }
    }
}
