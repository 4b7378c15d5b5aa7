//! Cache of loaders, unpacked code and merged layers, addressed by the digest of their content.
//!
//! ```text
//! {cache}/loaders/{digest}/main.mjs    {cache}/code/{digest}/…    {cache}/layers/{digest}/…
//! ```
//! The directory belongs to this process's user and is readable by the group of the functions at most. An entry is built in a
//! temporary directory and renamed, so it is complete whenever it exists.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};

use super::error::ManagedRuntimeError;
use crate::definition::FunctionUser;

/// Entries of one kind above which old ones are removed.
const MAX_ENTRIES: usize = 64;
/// Age of an entry, from its last use, below which it is never removed.
const MIN_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// An open cache directory.
pub(super) struct RuntimeCache {
    root: PathBuf,
    user: Option<FunctionUser>,
}

/// Returns the cache directory of this process's user: `twinway` in `XDG_CACHE_HOME` or `~/.cache`, otherwise a directory of
/// the user in that of temporary files.
#[must_use]
pub fn default_cache_directory() -> PathBuf {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let own = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    own.map_or_else(
        || std::env::temp_dir().join(format!("twinway-{}", rustix::process::geteuid().as_raw())),
        |cache| cache.join("twinway"),
    )
}

impl RuntimeCache {
    /// Opens the directory, and creates it with mode 0700; with mode 0750 when functions have another user.
    pub fn open(root: &Path, user: Option<FunctionUser>) -> Result<Self, ManagedRuntimeError> {
        let failed = |source| ManagedRuntimeError::CacheNotWritable { path: root.to_owned(), source };
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let root = std::path::absolute(root).map_err(failed)?;
        let cache = Self { root, user };
        match DirBuilder::new().mode(0o700).create(&cache.root) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        cache.check_owner()?;
        if let Some(user) = user {
            check_reachable(&cache.root, user)?;
        }
        cache.share(&cache.root, 0o700).map_err(failed)?;
        Ok(cache)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn check_owner(&self) -> Result<(), ManagedRuntimeError> {
        let refused = |reason| ManagedRuntimeError::CacheNotPrivate { path: self.root.clone(), reason };
        let found = fs::symlink_metadata(&self.root)
            .map_err(|source| ManagedRuntimeError::CacheNotWritable { path: self.root.clone(), source })?;
        if !found.is_dir() {
            return Err(refused("it is not a directory"));
        }
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err(refused("it belongs to another user"));
        }
        if found.mode() & 0o022 != 0 {
            return Err(refused("other users may write it"));
        }
        Ok(())
    }

    /// Sets the mode of a file or directory, and gives the group of the functions read access.
    pub fn share(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mode = match self.user {
            Some(user) => {
                chown(path, None, Some(user.gid))?;
                mode | (mode & 0o500) >> 3
            }
            None => mode,
        };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    /// Returns the directory of the entry with this key; `fill` writes it if it does not exist.
    pub fn place(
        &self,
        kind: &str,
        key: &str,
        fill: impl FnOnce(&Path) -> Result<(), ManagedRuntimeError>,
    ) -> Result<PathBuf, ManagedRuntimeError> {
        let failed = |source| ManagedRuntimeError::CacheNotWritable { path: self.root.clone(), source };
        let folder = self.root.join(kind);
        let entry = folder.join(key);
        if entry.is_dir() {
            mark_used(&entry);
            return Ok(entry);
        }
        self.create_directory(&folder).map_err(failed)?;
        remove_old_entries(&folder);
        let staging = folder.join(format!(".{}", uuid::Uuid::new_v4()));
        self.create_directory(&staging).map_err(failed)?;
        let filled = fill(&staging).and_then(|()| match fs::rename(&staging, &entry) {
            // Another process was faster.
            Err(_) if entry.is_dir() => Ok(()),
            renamed => renamed.map_err(failed),
        });
        // Fails when the directory has been renamed.
        let _ = fs::remove_dir_all(&staging);
        filled.map(|()| entry)
    }

    /// Returns the directory that contains files with these names and texts.
    pub fn place_files(&self, kind: &str, files: &[(&str, &str)]) -> Result<PathBuf, ManagedRuntimeError> {
        let mut digest = ContentDigest::new();
        for (name, text) in files {
            digest.add(name.as_bytes());
            digest.add(text.as_bytes());
        }
        let write = |(name, text): &(&str, &str), folder: &Path| {
            self.write_file(&folder.join(name), text.as_bytes(), 0o600)
                .map_err(|source| ManagedRuntimeError::CacheNotWritable { path: self.root.clone(), source })
        };
        self.place(kind, &digest.finish(), |folder| files.iter().try_for_each(|file| write(file, folder)))
    }

    pub fn create_directory(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && path != self.root => {
                self.create_directory(path.parent().unwrap_or(&self.root))?;
                self.create_directory(path)
            }
            Err(error) => Err(error),
            Ok(()) => self.share(path, 0o700),
        }
    }

    fn write_file(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        self.create_file(path, mode)?.write_all(content)
    }

    /// Creates a file that must not exist.
    pub fn create_file(&self, path: &Path, mode: u32) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        self.share(path, mode)?;
        Ok(file)
    }
}

/// Checks that the user of the functions may enter the directories above the cache.
fn check_reachable(root: &Path, user: FunctionUser) -> Result<(), ManagedRuntimeError> {
    for folder in root.ancestors().skip(1) {
        let Ok(found) = folder.metadata() else { continue };
        let permission = match (found.uid() == user.uid, found.gid() == user.gid) {
            (true, _) => 0o100,
            (_, true) => 0o010,
            _ => 0o001,
        };
        if user.uid != 0 && found.mode() & permission == 0 {
            return Err(ManagedRuntimeError::CacheUnreachable(folder.to_owned()));
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the times of files are those of the system")]
fn mark_used(entry: &Path) {
    // Fails on a read-only file system.
    let _ = File::open(entry).and_then(|entry| entry.set_modified(SystemTime::now()));
}

/// Removes entries that were not used for a week, when there are many.
fn remove_old_entries(folder: &Path) {
    let entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
    if entries.len() < MAX_ENTRIES {
        return;
    }
    let is_old = |entry: &fs::DirEntry| {
        let used = entry.metadata().and_then(|found| found.modified()).ok();
        used.and_then(|used| used.elapsed().ok()).is_some_and(|age| age > MIN_AGE)
    };
    for entry in entries.iter().filter(|entry| is_old(entry)) {
        // Fails when another process removes it as well.
        let _ = fs::remove_dir_all(entry.path());
    }
}

/// Digest of an entry's content: SHA-256 of parts with their lengths.
pub(super) struct ContentDigest(Context);

impl ContentDigest {
    pub fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub fn add(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// Adds the content of a file.
    pub fn add_file(&mut self, path: &Path) -> io::Result<()> {
        let mut writer = DigestWriter(&mut self.0);
        io::copy(&mut File::open(path)?, &mut writer).map(drop)
    }

    /// Returns 32 hexadecimal digits.
    pub fn finish(self) -> String {
        self.0.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

struct DigestWriter<'d>(&'d mut Context);

impl io::Write for DigestWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn entries_are_private_and_addressed_by_their_content() {
        let parent = tempfile::tempdir().unwrap();
        let cache = RuntimeCache::open(&parent.path().join("a/cache"), None).unwrap();
        let one = cache.place_files("loaders", &[("x.py", "print(1)")]).unwrap();
        let two = cache.place_files("loaders", &[("x.py", "print(2)")]).unwrap();
        assert_ne!(one, two);
        assert_eq!(cache.place_files("loaders", &[("x.py", "print(1)")]).unwrap(), one);
        assert_eq!(fs::read_to_string(one.join("x.py")).unwrap(), "print(1)");
        assert_eq!((mode(cache.root()), mode(&one), mode(&one.join("x.py"))), (0o700, 0o700, 0o600));
        assert_eq!(fs::read_dir(cache.root().join("loaders")).unwrap().count(), 2, "no temporary directory is left");
    }

    #[test]
    fn functions_of_another_user_may_read_the_cache() {
        let parent = tempfile::tempdir().unwrap();
        let gid = rustix::process::getegid().as_raw();
        let user = FunctionUser { uid: 12_345, gid };
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let unreachable = RuntimeCache::open(&parent.path().join("cache"), Some(user)).map(drop).unwrap_err();
        assert!(unreachable.to_string().contains("the user of the functions cannot enter"), "{unreachable}");
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o710)).unwrap();
        let cache = RuntimeCache::open(&parent.path().join("cache"), Some(user)).unwrap();
        let entry = cache.place_files("loaders", &[("x.py", "print(1)")]).unwrap();
        assert_eq!((mode(cache.root()), mode(&entry), mode(&entry.join("x.py"))), (0o750, 0o750, 0o640));
    }

    #[test]
    fn a_cache_that_others_may_change_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let open = parent.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path(), &link).unwrap();
        for path in [&open, &link] {
            let error = RuntimeCache::open(path, None).map(drop).unwrap_err();
            assert!(matches!(error, ManagedRuntimeError::CacheNotPrivate { .. }), "{error}");
        }
    }

    #[test]
    fn a_failed_entry_leaves_nothing_behind() {
        let parent = tempfile::tempdir().unwrap();
        let cache = RuntimeCache::open(&parent.path().join("cache"), None).unwrap();
        let failed = cache.place("code", "key", |folder| {
            fs::write(folder.join("half"), "x").unwrap();
            Err(ManagedRuntimeError::TooManyLayers(6))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(cache.root().join("code")).unwrap().count(), 0);
    }
}
