//! PostgreSQL's executables and the user that runs them.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// Debian's installation directory, with one subdirectory per version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// Executables of one version.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    directory: PathBuf,
    /// User and group of the server, if this process runs as root.
    unprivileged: Option<(u32, u32)>,
}

impl Programs {
    pub(super) fn find() -> anyhow::Result<Self> {
        let newest = versions().into_iter().max_by_key(|(version, _)| *version).map(|(_, path)| path);
        let on_path =
            ["/usr/local/bin", "/usr/bin"].map(PathBuf::from).into_iter().find(|path| path.join("initdb").is_file());
        let directory =
            newest.or(on_path).context("PostgreSQL is not installed; install it with tests/scripts/setup.sh")?;
        let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
        let unprivileged = is_root.then(account).transpose()?;
        Ok(Self { directory, unprivileged })
    }

    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    /// Returns a command that runs a program as the unprivileged user.
    pub(super) fn run(&self, program: &str) -> Command {
        let Some((user, group)) = self.unprivileged else { return Command::new(self.path(program)) };
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
        command.arg(self.path(program)).current_dir("/");
        command
    }

    /// Changes the owner of a file or directory to the user that runs the server.
    pub(super) fn give_ownership(&self, path: &Path) -> std::io::Result<()> {
        self.unprivileged.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))
    }
}

fn versions() -> Vec<(u32, PathBuf)> {
    let Ok(directories) = std::fs::read_dir(DEBIAN) else { return Vec::new() };
    let version = |path: PathBuf| Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin")));
    let found = directories.filter_map(|entry| version(entry.ok()?.path()));
    found.filter(|(_, path)| path.join("initdb").is_file()).collect()
}

/// Returns the ids of the user `postgres`, which Debian's package creates, or of `nobody`.
fn account() -> anyhow::Result<(u32, u32)> {
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let named = |name: &str| {
        let line = accounts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let mut fields = line.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    named("postgres").or_else(|| named("nobody")).context("no unprivileged user to run PostgreSQL: create `postgres`")
}
