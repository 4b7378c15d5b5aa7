//! Layers of a function, merged into one directory that takes the place of `/opt`.
//!
//! Lambda unpacks layers into `/opt`, later ones over earlier ones. Here several functions share a file system, so each has its
//! own directory, which is in front of `/opt` in all search paths. Absolute paths of `/opt` in scripts are not translated;
//! a container image can have the layers in `/opt` itself.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::archive::{MAX_ENTRIES, MAX_UNPACKED_BYTES, extract_archive, too_large};
use super::cache::{ContentDigest, RuntimeCache};
use super::error::ManagedRuntimeError;
use crate::program::is_executable;

/// Maximum layers of a function (Lambda developer guide, `chapter-layers`).
const MAX_LAYERS: usize = 5;
/// Maximum external extensions (Lambda developer guide, `runtimes-extensions-api`).
const MAX_EXTENSIONS: usize = 10;

/// Directory with the content of a function's layers.
#[derive(Debug, Clone, Default)]
pub(super) struct LayerRoot {
    /// `None` for a function without layers.
    pub path: Option<PathBuf>,
}

impl LayerRoot {
    /// Merges the layers. A single directory is used as it is.
    pub fn prepare(layers: &[PathBuf], cache: &RuntimeCache) -> Result<Self, ManagedRuntimeError> {
        if layers.len() > MAX_LAYERS {
            return Err(ManagedRuntimeError::TooManyLayers(layers.len()));
        }
        let folders = layers.iter().map(|layer| layer_folder(layer, cache)).collect::<Result<Vec<_>, _>>()?;
        let path = match folders.as_slice() {
            [] => None,
            [single] => Some(single.clone()),
            several => Some(merge(several, cache)?),
        };
        Ok(Self { path })
    }

    /// Returns the path of a file of the layers for a path in `/opt`; other paths unchanged.
    pub fn translate(&self, path: &str) -> String {
        let own = self.path.as_ref().zip(path.strip_prefix("/opt/")).map(|(root, rest)| root.join(rest));
        let exists = |own: &PathBuf| own.parent().is_some_and(Path::exists);
        own.filter(exists).map_or_else(|| path.to_owned(), |own| own.to_string_lossy().into_owned())
    }

    /// Returns the executables of external extensions, by name.
    pub fn extensions(&self) -> Vec<PathBuf> {
        let Some(root) = &self.path else { return Vec::new() };
        let entries = fs::read_dir(root.join("extensions")).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| is_executable(path)).collect();
        found.sort();
        found.truncate(MAX_EXTENSIONS);
        found
    }
}

fn layer_folder(layer: &Path, cache: &RuntimeCache) -> Result<PathBuf, ManagedRuntimeError> {
    let unreadable = |source| ManagedRuntimeError::Unreadable { path: layer.to_owned(), source };
    let layer = layer.canonicalize().map_err(unreadable)?;
    if layer.is_dir() { Ok(layer) } else { extract_archive(&layer, "layer", cache) }
}

fn merge(folders: &[PathBuf], cache: &RuntimeCache) -> Result<PathBuf, ManagedRuntimeError> {
    let mut listing = LayerListing::default();
    for folder in folders {
        listing
            .read(folder, Path::new(""))
            .map_err(|source| ManagedRuntimeError::Unreadable { path: folder.clone(), source })?;
        if listing.bytes > MAX_UNPACKED_BYTES || listing.files.len() > MAX_ENTRIES {
            return Err(too_large(folder));
        }
    }
    let mut digest = ContentDigest::new();
    for file in &listing.files {
        digest.add(file.source.as_os_str().as_encoded_bytes());
        digest.add(format!("{} {} {}", file.size, file.modified.0, file.modified.1).as_bytes());
    }
    cache.place("layers", &digest.finish(), |root| {
        let copied = listing.files.iter().try_for_each(|file| copy_file(file, root, cache));
        copied.map_err(|source| ManagedRuntimeError::CacheNotWritable { path: cache.root().to_owned(), source })
    })
}

/// Files of all layers, in the order of the layers.
#[derive(Default)]
struct LayerListing {
    files: Vec<LayerFile>,
    bytes: u64,
}

struct LayerFile {
    source: PathBuf,
    /// Path within the layer.
    name: PathBuf,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl LayerListing {
    fn read(&mut self, layer: &Path, folder: &Path) -> io::Result<()> {
        let mut entries = fs::read_dir(layer.join(folder))?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (name, found) = (folder.join(entry.file_name()), entry.metadata()?);
            if found.is_dir() {
                self.read(layer, &name)?;
                continue;
            }
            self.bytes += found.len();
            let modified = (found.mtime(), found.mtime_nsec());
            self.files.push(LayerFile { source: entry.path(), name, size: found.len(), modified });
            if self.files.len() > MAX_ENTRIES {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn copy_file(file: &LayerFile, root: &Path, cache: &RuntimeCache) -> io::Result<()> {
    let target = root.join(&file.name);
    if let Some(parent) = target.parent() {
        cache.create_directory(parent)?;
    }
    if target.symlink_metadata().is_ok() {
        fs::remove_file(&target)?;
    }
    let found = file.source.symlink_metadata()?;
    if found.is_symlink() {
        return std::os::unix::fs::symlink(fs::read_link(&file.source)?, &target);
    }
    fs::copy(&file.source, &target)?;
    cache.share(&target, 0o600 | found.permissions().mode() & 0o100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str, mode: u32) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn later_layers_override_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        write(&one, "python/shared.py", "one", 0o644);
        write(&one, "python/own.py", "one", 0o644);
        write(&two, "python/shared.py", "two", 0o644);
        write(&two, "extensions/agent", "#!/bin/sh\n", 0o755);
        write(&two, "extensions/readme", "text", 0o644);
        let cache = RuntimeCache::open(&folder.path().join("cache"), None).unwrap();
        let layers = LayerRoot::prepare(&[one.clone(), two], &cache).unwrap();
        let root = layers.path.clone().unwrap();
        assert_eq!(fs::read_to_string(root.join("python/shared.py")).unwrap(), "two");
        assert_eq!(fs::read_to_string(root.join("python/own.py")).unwrap(), "one");
        assert_eq!(layers.extensions(), [root.join("extensions/agent")]);
        assert_eq!(layers.translate("/opt/python/own.py"), root.join("python/own.py").to_string_lossy());
        assert_eq!(layers.translate("/opt/other/file"), "/opt/other/file");
        assert_eq!(layers.translate("app.handler"), "app.handler");
        let single = LayerRoot::prepare(std::slice::from_ref(&one), &cache).unwrap();
        assert_eq!(single.path.unwrap(), one.canonicalize().unwrap());
    }

    #[test]
    fn missing_and_too_many_layers_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let cache = RuntimeCache::open(&folder.path().join("cache"), None).unwrap();
        let missing = LayerRoot::prepare(&[PathBuf::from("/no/such/layer")], &cache).unwrap_err();
        assert!(missing.to_string().contains("/no/such/layer cannot be read"), "{missing}");
        let many = LayerRoot::prepare(&vec![folder.path().to_owned(); 6], &cache).unwrap_err();
        assert!(matches!(many, ManagedRuntimeError::TooManyLayers(6)), "{many}");
    }
}
