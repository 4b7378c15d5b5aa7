//! Watch of the functions' code for development: a change replaces the processes of the functions that use the directory.
//! Sockets stay open, and running invocations finish.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use runtime_api::{LambdaFunction, Program};
use tokio::sync::mpsc;

/// Quiet time after a change before the processes are replaced, because editors and build tools write several files.
const QUIET_TIME: Duration = Duration::from_millis(200);
/// Directories that functions write to themselves or that build tools fill.
const IGNORED_DIRECTORIES: [&str; 4] = ["__pycache__", ".git", ".pytest_cache", ".ruff_cache"];

/// A directory with the functions whose code it contains.
pub struct WatchedDirectory {
    pub path: PathBuf,
    pub functions: Vec<WatchedFunction>,
}

/// A function with the program that its new processes run.
pub struct WatchedFunction {
    pub function: Arc<LambdaFunction>,
    pub program: Program,
}

/// Watch of directories, until it is dropped.
pub struct CodeWatch {
    _watcher: RecommendedWatcher,
}

impl CodeWatch {
    /// Starts watching. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A directory cannot be watched, for example because the system's limit of watches is reached.
    pub fn start(directories: Vec<WatchedDirectory>) -> Result<Self, notify::Error> {
        let (sender, changes) = mpsc::unbounded_channel();
        let mut watcher = notify::recommended_watcher(move |event: Result<Event, notify::Error>| {
            // Fails when the server stops.
            let _ = event.map(|event| is_change(&event).then(|| sender.send(event.paths)));
        })?;
        for directory in &directories {
            watcher.watch(&directory.path, RecursiveMode::Recursive)?;
        }
        drop(tokio::spawn(replace_changed(directories, changes)));
        Ok(Self { _watcher: watcher })
    }
}

/// Returns whether an event changes code: not an access, and not only in ignored directories.
fn is_change(event: &Event) -> bool {
    !event.kind.is_access() && event.paths.iter().any(|path| !is_ignored(path))
}

/// Returns whether a path is no code: a log file, or in a directory of a tool.
fn is_ignored(path: &Path) -> bool {
    let in_tool_directory = |part: Component<'_>| matches!(part, Component::Normal(name) if IGNORED_DIRECTORIES.iter().any(|ignored| name == *ignored));
    path.extension().is_some_and(|extension| extension == "log") || path.components().any(in_tool_directory)
}

/// Replaces the processes of functions after changes, until the watcher is dropped.
async fn replace_changed(directories: Vec<WatchedDirectory>, mut changes: mpsc::UnboundedReceiver<Vec<PathBuf>>) {
    while let Some(mut paths) = changes.recv().await {
        while let Ok(Some(more)) = tokio::time::timeout(QUIET_TIME, changes.recv()).await {
            paths.extend(more);
        }
        for directory in &directories {
            if !paths.iter().any(|path| path.starts_with(&directory.path)) {
                continue;
            }
            for WatchedFunction { function, program } in &directory.functions {
                tracing::info!(function.name = function.name(), "code changed, processes replaced");
                function.replace_program(program.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_of_interpreters_are_no_code() {
        assert!(
            is_ignored(Path::new("/app/__pycache__/app.cpython-313.pyc")) && is_ignored(Path::new("/app/.git/index"))
        );
        assert!(is_ignored(Path::new("/app/server.log")) && !is_ignored(Path::new("/app/app.py")));
    }
}
