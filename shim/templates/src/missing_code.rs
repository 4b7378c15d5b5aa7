//! Findings for functions whose code has to be built first.

use std::collections::BTreeSet;

use crate::model::{Application, Authorization, CodeLocation, Finding, Severity};

/// Adds an error for each function that a route invokes and whose code does not exist. The code of other functions, such
/// as those of queues, is not needed.
pub(crate) fn with_findings(mut application: Application) -> Application {
    let invoked = invoked_functions(&application);
    let missing = application.functions.iter().filter(|(id, _)| invoked.contains(id.as_str()));
    let findings: Vec<_> = missing
        .filter_map(|(_, function)| {
            let CodeLocation::Missing { path, remedy } = &function.code else { return None };
            let message = format!("function {}: {} does not exist; run '{remedy}'", function.name, path.display());
            Some(Finding { severity: Severity::Error, location: function.location.clone(), message })
        })
        .collect();
    application.findings.extend(findings);
    application
}

/// Returns the logical ids of the functions that routes and authorizers invoke.
fn invoked_functions(application: &Application) -> BTreeSet<String> {
    let routes = application.websocket_api.iter().flat_map(|api| &api.routes);
    let of_routes = routes.flat_map(|route| {
        let authorizer = match &route.authorization {
            Authorization::Custom { function, .. } => Some(function.as_str()),
            Authorization::None | Authorization::Iam => None,
        };
        [route.integration.function(), authorizer]
    });
    let of_http = application.http_apis.iter().flat_map(|api| &api.routes).map(|route| Some(route.function.as_str()));
    of_routes.chain(of_http).flatten().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use crate::{ApplicationContext, Severity, read_application};

    #[test]
    fn code_that_is_not_built_is_an_error_unless_no_route_invokes_it() {
        let directory = tempfile::tempdir().unwrap();
        let template = |event: &str| {
            let text = format!(
                "Transform: AWS::Serverless-2016-10-31\nResources:\n  Chat:\n    Type: AWS::Serverless::Function\n    \
                 Properties:\n      Runtime: nodejs22.x\n      Handler: app.handler\n      CodeUri: dist/\n{event}"
            );
            std::fs::write(directory.path().join("template.yaml"), text).unwrap();
            read_application(directory.path(), &ApplicationContext::default()).unwrap().findings
        };
        let findings = template("      Events: {Home: {Type: HttpApi, Properties: {Method: get, Path: /}}}\n");
        let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
        assert_eq!(errors.len(), 1, "{findings:?}");
        assert!(errors[0].message.contains("does not exist; run 'sam build'"), "{}", errors[0].message);
        assert!(template("").iter().all(|finding| finding.severity != Severity::Error));
    }
}
