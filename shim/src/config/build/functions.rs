//! Where the handlers are, key by key.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::Value;
use super::super::functions::{FUNCTIONS, FunctionSource, FunctionsConfig, MessageResponse, Variables};
use super::super::values::{self, Parsed};
use super::Reader;

/// The keys of command lines, in the order of [`FUNCTIONS`].
const COMMANDS: [&str; 5] =
    ["functions.authorizer", "functions.connect", "functions.message", "functions.disconnect", "functions.api"];

impl Reader<'_> {
    pub(super) fn functions(&mut self) -> Option<FunctionsConfig> {
        let source = self.optional("functions.source", |value| {
            values::choice(value, &[("embedded", FunctionSource::Embedded), ("lambda", FunctionSource::Lambda)])
        });
        let directory = self.optional("functions.directory", |value| values::text(value).map(PathBuf::from));
        let commands = self.commands();
        let handlers = self.optional("functions.handlers", handlers);
        let environment = self.optional("functions.environment", values::table);
        let message_response = self.read("functions.message_response", |value| {
            values::choice(value, &[("two-way", MessageResponse::TwoWay), ("one-way", MessageResponse::OneWay)])
        });
        let timeout = self.read("functions.timeout", values::duration);
        let init_timeout = self.read("functions.init_timeout", values::duration);
        let idle_timeout = self.read("functions.idle_timeout", values::duration);
        let memory_mib = self.read("functions.memory_mib", values::count);
        let number = |value: &Value| values::parsed::<usize>(value, "a whole number");
        let min_processes = self.read("functions.min_processes", number);
        let max_processes = self.read("functions.max_processes", values::count);
        let concurrency = self.read("functions.concurrency", values::count);
        let queue = self.read("functions.queue", number);
        let (directory, commands) = (directory?, commands?);
        let named = directory.is_some() || !commands.is_empty();
        let source = source?.unwrap_or(if named { FunctionSource::Lambda } else { FunctionSource::Embedded });
        if source == FunctionSource::Lambda && !named {
            self.mistake(
                "functions.source is lambda, and no function is named; set functions.directory to a directory with \
                 sub-directories such as message/bootstrap, or functions.message to a command line",
            );
        }
        Some(FunctionsConfig {
            source,
            directory,
            commands,
            handlers: handlers?.unwrap_or_default(),
            environment: Variables(environment?.unwrap_or_default()),
            inherited: Variables::default(),
            message_response: message_response?,
            timeout: timeout?,
            init_timeout: init_timeout?,
            idle_timeout: idle_timeout?,
            memory_mib: memory_mib?,
            min_processes: min_processes?,
            max_processes: max_processes?,
            concurrency: concurrency?,
            queue: queue?,
        })
    }

    fn commands(&mut self) -> Option<BTreeMap<&'static str, Vec<String>>> {
        let mut commands = Some(BTreeMap::new());
        for (key, function) in COMMANDS.into_iter().zip(FUNCTIONS) {
            match (self.optional(key, command_line), &mut commands) {
                (Some(Some(line)), Some(commands)) => drop(commands.insert(function, line)),
                (Some(_), _) => {}
                (None, _) => commands = None,
            }
        }
        commands
    }
}

/// Words: an array in the file, divided by white space elsewhere.
fn command_line(value: &Value) -> Parsed<Vec<String>> {
    let words: Vec<String> = match value {
        Value::List(words) => words.clone(),
        Value::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
        Value::Table(_) => return Err("takes a command line, not a table".to_owned()),
    };
    if words.is_empty() { Err("must be a path or a command line".to_owned()) } else { Ok(words) }
}

fn handlers(value: &Value) -> Parsed<BTreeMap<String, String>> {
    let handlers = values::table(value)?;
    match handlers.keys().find(|name| !FUNCTIONS.contains(&name.as_str())) {
        Some(unknown) => Err(format!("names {unknown:?}, and the functions are {}", FUNCTIONS.join(", "))),
        None => Ok(handlers),
    }
}
