//! `twinway doctor`: what a template uses that is not supported.

use std::process::ExitCode;

use templates::{Application, Severity};

use super::CommandIo;
use super::application::TemplateArgs;
use super::exit::CommandError;
use crate::config::describe_finding;
use crate::exit_code::EXIT_USAGE;

pub(super) fn print_findings(arguments: &TemplateArgs, terminal: &mut CommandIo<'_>) -> Result<ExitCode, CommandError> {
    let application = arguments.read_application(terminal)?;
    terminal.print_result(&render_findings(&application))?;
    let prevents_start = application.findings.iter().any(|finding| finding.severity >= Severity::Error);
    Ok(if prevents_start { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS })
}

/// Returns one line per finding, the most severe first.
fn render_findings(application: &Application) -> String {
    let mut findings: Vec<_> = application.findings.iter().collect();
    findings.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.location.line.cmp(&b.location.line)));
    let line = |finding: &&templates::Finding| {
        let severity = match finding.severity {
            Severity::Security => "security",
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let text = describe_finding(application, finding);
        format!("{severity:8}  {}\n", text.trim_start_matches("security: "))
    };
    let lines: String = findings.iter().map(line).collect();
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (security, errors, warnings) = (count(Severity::Security), count(Severity::Error), count(Severity::Warning));
    let verdict = if security + errors > 0 { "cannot be served" } else { "can be served" };
    format!(
        "{lines}{} {verdict}: {security} security, {errors} error, {warnings} warning findings\n",
        application.template.display()
    )
}
