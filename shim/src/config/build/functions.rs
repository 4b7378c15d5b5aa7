//! Reader of the section `functions`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::ConfigValue;
use super::super::functions::{EnvironmentVariables, FUNCTION_NAMES, FunctionSource, FunctionsConfig, MessageResponse};
use super::super::values::{self, ParseResult};
use super::ConfigReader;

/// Keys of command lines, in the order of [`FUNCTION_NAMES`].
const COMMAND_KEYS: [&str; 5] =
    ["functions.authorizer", "functions.connect", "functions.message", "functions.disconnect", "functions.api"];

impl ConfigReader<'_> {
    pub(super) fn read_functions(&mut self) -> Option<FunctionsConfig> {
        let source = self.read_optional("functions.source", |value| {
            values::parse_choice(value, &[("embedded", FunctionSource::Embedded), ("lambda", FunctionSource::Lambda)])
        });
        let directory = self.read_optional("functions.directory", |value| values::parse_text(value).map(PathBuf::from));
        let commands = self.read_commands();
        let handlers = self.read_optional("functions.handlers", parse_handlers);
        let environment = self.read_optional("functions.environment", values::parse_table);
        let message_response = self.read_required("functions.message_response", |value| {
            values::parse_choice(value, &[("two-way", MessageResponse::TwoWay), ("one-way", MessageResponse::OneWay)])
        });
        let timeout = self.read_required("functions.timeout", values::parse_duration_value);
        let init_timeout = self.read_required("functions.init_timeout", values::parse_duration_value);
        let idle_timeout = self.read_required("functions.idle_timeout", values::parse_duration_value);
        let memory_mib = self.read_required("functions.memory_mib", values::parse_count);
        let number = |value: &ConfigValue| values::parse_from_str::<usize>(value, "a whole number");
        let min_processes = self.read_required("functions.min_processes", number);
        let max_processes = self.read_required("functions.max_processes", values::parse_count);
        let concurrency = self.read_required("functions.concurrency", values::parse_count);
        let queue = self.read_required("functions.queue", number);
        let (directory, commands) = (directory?, commands?);
        let configured = directory.is_some() || !commands.is_empty();
        let source = source?.unwrap_or(if configured { FunctionSource::Lambda } else { FunctionSource::Embedded });
        if source == FunctionSource::Lambda && !configured {
            self.add_error(
                "functions.source is lambda, but no function is configured; set functions.directory to a directory \
                 with subdirectories such as message/bootstrap, or functions.message to a command line",
            );
        }
        Some(FunctionsConfig {
            source,
            directory,
            commands,
            handlers: handlers?.unwrap_or_default(),
            environment: EnvironmentVariables(environment?.unwrap_or_default()),
            inherited_environment: EnvironmentVariables::default(),
            message_response: message_response?,
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

    fn read_commands(&mut self) -> Option<BTreeMap<&'static str, Vec<String>>> {
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

/// Parses a command line: an array in the file, otherwise words separated by white space.
fn parse_command_line(value: &ConfigValue) -> ParseResult<Vec<String>> {
    let words: Vec<String> = match value {
        ConfigValue::List(words) => words.clone(),
        ConfigValue::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
        ConfigValue::Table(_) => return Err("must be a command line, not a table".to_owned()),
    };
    if words.is_empty() { Err("must be a path or a command line".to_owned()) } else { Ok(words) }
}

fn parse_handlers(value: &ConfigValue) -> ParseResult<BTreeMap<String, String>> {
    let handlers = values::parse_table(value)?;
    match handlers.keys().find(|name| !FUNCTION_NAMES.contains(&name.as_str())) {
        Some(unknown) => Err(format!("unknown function {unknown:?}; expected one of {}", FUNCTION_NAMES.join(", "))),
        None => Ok(handlers),
    }
}
