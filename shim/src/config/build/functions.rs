//! Reader of the section `functions`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use runtime_api::{FunctionUser, is_reserved_variable};

use super::super::ConfigValue;
use super::super::functions::{FUNCTION_NAMES, FunctionSource, FunctionVariables, FunctionsConfig, MessageResponse};
use super::super::values::{self, ParseResult};
use super::ConfigReader;

/// Keys of command lines, in the order of [`FUNCTION_NAMES`].
const COMMAND_KEYS: [&str; 5] =
    ["functions.authorizer", "functions.connect", "functions.message", "functions.disconnect", "functions.api"];

/// Command lines by function.
type FunctionCommands = BTreeMap<&'static str, Vec<String>>;

impl ConfigReader<'_> {
    pub(super) fn read_functions(&mut self) -> Option<FunctionsConfig> {
        let source = self.read_optional("functions.source", parse_source);
        let template = self.read_optional("api.template", |value| values::parse_text(value).map(PathBuf::from));
        let parameters = self.read_optional("api.parameters", parse_parameters);
        let programs = self.read_programs();
        let handlers = self.read_optional("functions.handlers", parse_handlers);
        let environment = self.read_optional("functions.environment", parse_environment);
        let user = self.read_optional("functions.user", parse_user);
        let endpoint_proxy = self.read_required("functions.endpoint_proxy", |value| {
            values::parse_choice(value, &[("on", true), ("off", false)])
        });
        let message_response = self.read_optional("functions.message_response", parse_message_response);
        let timeout = self.read_required("functions.timeout", values::parse_duration_value);
        let init_timeout = self.read_required("functions.init_timeout", values::parse_duration_value);
        let idle_timeout = self.read_required("functions.idle_timeout", values::parse_duration_value);
        let memory_mib = self.read_required("functions.memory_mib", values::parse_count);
        let number = |value: &ConfigValue| values::parse_from_str::<usize>(value, "a whole number");
        let min_processes = self.read_required("functions.min_processes", number);
        let max_processes = self.read_required("functions.max_processes", values::parse_count);
        let concurrency = self.read_required("functions.concurrency", values::parse_count);
        let queue = self.read_required("functions.queue", number);
        let ((directory, commands), template) = (programs?, template?);
        let has_functions = directory.is_some() || !commands.is_empty();
        let source = self.select_source(source?, template.is_some(), has_functions);
        Some(FunctionsConfig {
            source,
            template,
            parameters: FunctionVariables(parameters?.unwrap_or_default()),
            directory,
            commands,
            handlers: handlers?.unwrap_or_default(),
            environment: FunctionVariables(environment?.unwrap_or_default()),
            inherited_environment: FunctionVariables::default(),
            template_environment: FunctionVariables::default(),
            library_path: None,
            user: user?,
            endpoint_proxy: endpoint_proxy?,
            supervisor: None,
            watches_code: false,
            message_response: message_response?.unwrap_or(MessageResponse::OneWay),
            timeout: timeout?,
            init_timeout: init_timeout?,
            idle_timeout: idle_timeout?,
            memory_mib: memory_mib?,
            min_processes: min_processes?,
            max_processes: max_processes?,
            concurrency: concurrency?,
            queue_capacity: queue?,
        })
    }

    /// Reads the directory of the functions, and the command lines by function.
    fn read_programs(&mut self) -> Option<(Option<PathBuf>, FunctionCommands)> {
        let directory = self.read_optional("functions.directory", |value| values::parse_text(value).map(PathBuf::from));
        let commands = self.read_commands();
        Some((directory?, commands?))
    }

    /// Returns the configured source, or the default: Lambda if a template or functions are configured.
    fn select_source(
        &mut self,
        source: Option<FunctionSource>,
        has_template: bool,
        has_functions: bool,
    ) -> FunctionSource {
        if has_template && has_functions {
            self.add_error(
                "api.template cannot be combined with functions.directory or the command line of a function, because the \
                 template has its own functions; remove one of them",
            );
        }
        let configured = has_template || has_functions;
        let source = source.unwrap_or(if configured { FunctionSource::Lambda } else { FunctionSource::Embedded });
        if source == FunctionSource::Lambda && !configured {
            self.add_error(
                "functions.source is lambda, but no function is configured; set api.template to the template of an \
                 application, functions.directory to a directory with subdirectories such as message/bootstrap, or \
                 functions.message to a command line",
            );
        }
        if source == FunctionSource::Embedded && has_template {
            self.add_error("functions.source is embedded, so api.template has no effect; remove one of them");
        }
        source
    }

    fn read_commands(&mut self) -> Option<FunctionCommands> {
        let mut commands = Some(BTreeMap::new());
        for (key, function) in COMMAND_KEYS.into_iter().zip(FUNCTION_NAMES) {
            match (self.read_optional(key, parse_command_line), &mut commands) {
                (Some(Some(line)), Some(commands)) => drop(commands.insert(function, line)),
                (Some(_), _) => {}
                (None, _) => commands = None,
            }
        }
        commands
    }
}

fn parse_source(value: &ConfigValue) -> ParseResult<FunctionSource> {
    values::parse_choice(value, &[("embedded", FunctionSource::Embedded), ("lambda", FunctionSource::Lambda)])
}

fn parse_message_response(value: &ConfigValue) -> ParseResult<MessageResponse> {
    values::parse_choice(value, &[("two-way", MessageResponse::TwoWay), ("one-way", MessageResponse::OneWay)])
}

/// Parses a command line: an array in the file, otherwise words separated by white space.
fn parse_command_line(value: &ConfigValue) -> ParseResult<Vec<String>> {
    let words: Vec<String> = match value {
        ConfigValue::List(words) => words.clone(),
        ConfigValue::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
        ConfigValue::Table(_) => return Err("must be a command line, not a table".to_owned()),
    };
    if words.is_empty() { Err("must be a path or a command line".to_owned()) } else { Ok(words) }
}

/// Parses the environment by Lambda's rules (API reference, `Environment`; developer guide, `configuration-envvars`).
/// Errors contain no values, which may be secrets.
fn parse_environment(value: &ConfigValue) -> ParseResult<BTreeMap<String, String>> {
    let variables = values::parse_table(value)?;
    for (name, value) in &variables {
        if is_reserved_variable(name) {
            let setting = reserved_variable_setting(name);
            return Err(format!(
                "{name} is reserved: Lambda sets it and rejects functions that configure it; {setting}"
            ));
        }
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.len() < 2 || !name.starts_with(|first: char| first.is_ascii_alphabetic()) || !name.bytes().all(letters)
        {
            return Err(format!(
                "{name:?} is not the name of a variable on Lambda: at least two letters, digits and '_', the first a letter"
            ));
        }
        if value.contains('\0') {
            return Err(format!("the value of {name} contains a NUL byte, which no environment variable can"));
        }
    }
    Ok(variables)
}

/// Returns the setting to use in place of a reserved variable.
fn reserved_variable_setting(name: &str) -> &'static str {
    match name {
        "AWS_REGION" | "AWS_DEFAULT_REGION" => "set api.region",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" => "set functions.memory_mib",
        "AWS_LAMBDA_FUNCTION_NAME" => "set api.id, which is part of it",
        "AWS_LAMBDA_INITIALIZATION_TYPE" => "set functions.min_processes",
        "AWS_LAMBDA_MAX_CONCURRENCY" => "set functions.concurrency",
        "_HANDLER" => "set functions.handlers",
        _ => "remove it",
    }
}

/// Parses parameters: a table, lines `name=value`, whose values may contain commas, or `name=value,...`.
fn parse_parameters(value: &ConfigValue) -> ParseResult<BTreeMap<String, String>> {
    match value {
        ConfigValue::Text(text) if text.contains('\n') => {
            let lines = text.lines().map(str::to_owned).collect();
            values::parse_table(&ConfigValue::List(lines))
        }
        ConfigValue::Text(_) | ConfigValue::List(_) | ConfigValue::Table(_) => values::parse_table(value),
    }
}

/// Parses `uid:gid`.
fn parse_user(value: &ConfigValue) -> ParseResult<FunctionUser> {
    let text = values::parse_text(value)?;
    let number = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
    let ids = text.split_once(':').and_then(|(uid, gid)| Some((number(uid)?, number(gid)?)));
    ids.map(|(uid, gid)| FunctionUser { uid, gid }).ok_or_else(|| {
        "must be the numbers of a user and a group, such as 65534:65534 (`id -u NAME`, `id -g NAME`)".to_owned()
    })
}

fn parse_handlers(value: &ConfigValue) -> ParseResult<BTreeMap<String, String>> {
    let handlers = values::parse_table(value)?;
    match handlers.keys().find(|name| !FUNCTION_NAMES.contains(&name.as_str())) {
        Some(unknown) => Err(format!("unknown function {unknown:?}; expected one of {}", FUNCTION_NAMES.join(", "))),
        None => Ok(handlers),
    }
}
