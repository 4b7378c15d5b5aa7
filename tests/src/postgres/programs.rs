//! Where PostgreSQL's programs are, and as whom they run.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// Where Debian has them, one directory for each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The programs of one version.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    directory: PathBuf,
    /// The user and group that the server runs as, when this process may not run it itself.
    unprivileged: Option<(u32, u32)>,
}

impl Programs {
    pub(super) fn find() -> anyhow::Result<Self> {
        let newest = versions().into_iter().max_by_key(|(version, _)| *version).map(|(_, path)| path);
        let on_path =
            ["/usr/local/bin", "/usr/bin"].map(PathBuf::from).into_iter().find(|path| path.join("initdb").is_file());
        let directory =
            newest.or(on_path).context("PostgreSQL is not installed; tests/scripts/setup.sh installs it")?;
        let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
        let unprivileged = is_root.then(account).transpose()?;
        Ok(Self { directory, unprivileged })
    }

    pub(super) fn path(&self, program: &str) -> PathBuf {
        self.directory.join(program)
    }

    /// A program that is to run as the unprivileged user.
    pub(super) fn run(&self, program: &str) -> Command {
        let Some((user, group)) = self.unprivileged else { return Command::new(self.path(program)) };
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()]);
        command.arg(self.path(program)).current_dir("/");
        command
    }

    /// Gives a file or directory to the user that the server runs as.
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

/// Debian's package makes the user `postgres`; `nobody` is everywhere.
fn account() -> anyhow::Result<(u32, u32)> {
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let named = |name: &str| {
        let line = accounts.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let mut fields = line.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    named("postgres").or_else(|| named("nobody")).context("there is no user that PostgreSQL could run as")
}
