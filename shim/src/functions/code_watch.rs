//! Watch of the functions' code for development: a change replaces the processes of the functions that use the directory.
//! Sockets stay open, and running invocations finish.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;
use runtime_api::{LambdaFunction, Program};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Quiet time after a change before the processes are replaced, because editors and build tools write several files.
const QUIET_TIME: Duration = Duration::from_millis(50);
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

/// Watch of directories, until it is stopped.
pub struct CodeWatch {
    _watcher: RecommendedWatcher,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Directories that changed since the processes of their functions were replaced.
#[derive(Default)]
struct ChangedDirectories {
    /// Indices of directories: at most one entry per directory.
    indices: Mutex<BTreeSet<usize>>,
    notify: Notify,
}

impl CodeWatch {
    /// Starts watching. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A directory cannot be watched, for example because the system's limit of watches is reached.
    pub fn start(directories: Vec<WatchedDirectory>) -> Result<Self, notify::Error> {
        let changes = Arc::new(ChangedDirectories::default());
        let paths: Vec<PathBuf> = directories.iter().map(|directory| directory.path.clone()).collect();
        let (recorded, watched) = (changes.clone(), paths.clone());
        let mut watcher = notify::recommended_watcher(move |event: Result<Event, notify::Error>| match event {
            Ok(event) if is_change(&event) => recorded.record(&event, &watched),
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %errors::chain(&error), "watching the code of functions failed"),
        })?;
        for path in &paths {
            watcher.watch(path, RecursiveMode::Recursive)?;
        }
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(stop.clone().run_until_cancelled_owned(replace_changed(directories, changes)));
        Ok(Self { _watcher: watcher, tasks, stop })
    }

    /// Stops watching.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl ChangedDirectories {
    fn record(&self, event: &Event, directories: &[PathBuf]) {
        let contains_change = |directory: &PathBuf| event.paths.iter().any(|path| path.starts_with(directory));
        let changed = directories.iter().enumerate().filter(|(_, directory)| contains_change(directory));
        self.indices.lock().extend(changed.map(|(index, _)| index));
        self.notify.notify_one();
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

/// Replaces the processes of functions after changes.
async fn replace_changed(directories: Vec<WatchedDirectory>, changes: Arc<ChangedDirectories>) {
    loop {
        changes.notify.notified().await;
        while tokio::time::timeout(QUIET_TIME, changes.notify.notified()).await.is_ok() {}
        let changed = std::mem::take(&mut *changes.indices.lock());
        for directory in changed.into_iter().filter_map(|index| directories.get(index)) {
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
