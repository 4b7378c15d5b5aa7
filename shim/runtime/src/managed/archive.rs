//! Extraction of zip archives: deployment packages and layers.
//!
//! Entries that lead out of the archive are rejected, links included, and the content is bounded as on Lambda. Links are created
//! after all files, so no file is written through a link.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use zip::ZipArchive;
use zip::read::ZipFile;

use super::cache::{ContentDigest, RuntimeCache};
use super::error::ManagedRuntimeError;

/// Maximum bytes of unpacked code or of a layer: 250 MB on Lambda (`gettingstarted-limits`).
pub(super) const MAX_UNPACKED_BYTES: u64 = 250 * 1024 * 1024;
/// Maximum number of files.
pub(super) const MAX_ENTRIES: usize = 100_000;
/// Maximum bytes of the target of a link.
const MAX_LINK_BYTES: u64 = 4096;

/// Returns the directory with the content of an archive, which is extracted once.
pub(super) fn extract_archive(path: &Path, kind: &str, cache: &RuntimeCache) -> Result<PathBuf, ManagedRuntimeError> {
    let unreadable = |source| ManagedRuntimeError::Unreadable { path: path.to_owned(), source };
    let mut digest = ContentDigest::new();
    digest.add_file(path).map_err(unreadable)?;
    cache.place(kind, &digest.finish(), |folder| {
        let file = File::open(path).map_err(unreadable)?;
        let archive = ZipArchive::new(file).map_err(|error| invalid(path, &error))?;
        Extraction { path, folder, cache, unpacked: 0, links: Vec::new() }.run(archive)
    })
}

fn invalid(path: &Path, error: &dyn std::error::Error) -> ManagedRuntimeError {
    ManagedRuntimeError::InvalidArchive { path: path.to_owned(), reason: error.to_string() }
}

struct Extraction<'e> {
    path: &'e Path,
    folder: &'e Path,
    cache: &'e RuntimeCache,
    unpacked: u64,
    /// Links with their targets.
    links: Vec<(PathBuf, PathBuf)>,
}

impl Extraction<'_> {
    fn run(mut self, mut archive: ZipArchive<File>) -> Result<(), ManagedRuntimeError> {
        if archive.len() > MAX_ENTRIES {
            return Err(self.too_large());
        }
        for index in 0..archive.len() {
            let entry = archive.by_index(index).map_err(|error| invalid(self.path, &error))?;
            self.extract_entry(entry)?;
        }
        for (link, target) in std::mem::take(&mut self.links) {
            let name = link.strip_prefix(self.folder).unwrap_or(&link).to_owned();
            if !is_inside(&name, &target) {
                return Err(self.unsafe_entry(&name.to_string_lossy()));
            }
            std::os::unix::fs::symlink(&target, &link).map_err(|source| self.failed(source))?;
        }
        Ok(())
    }

    fn extract_entry(&mut self, mut entry: ZipFile<'_, File>) -> Result<(), ManagedRuntimeError> {
        let relative = entry.enclosed_name().ok_or_else(|| self.unsafe_entry(&entry.name().unwrap_or_default()))?;
        let target = self.folder.join(relative);
        if entry.is_dir() {
            return self.cache.create_directory(&target).map_err(|source| self.failed(source));
        }
        if let Some(parent) = target.parent() {
            self.cache.create_directory(parent).map_err(|source| self.failed(source))?;
        }
        if entry.is_symlink() {
            let mut text = String::new();
            (&mut entry).take(MAX_LINK_BYTES).read_to_string(&mut text).map_err(|error| invalid(self.path, &error))?;
            self.links.push((target, PathBuf::from(text)));
            return Ok(());
        }
        let mode = 0o600 | entry.unix_mode().unwrap_or(0) & 0o100;
        let mut file = self.cache.create_file(&target, mode).map_err(|source| self.failed(source))?;
        // One byte more shows that the entry is larger than permitted, whatever its header says.
        let left = MAX_UNPACKED_BYTES - self.unpacked;
        self.unpacked +=
            io::copy(&mut (&mut entry).take(left + 1), &mut file).map_err(|error| invalid(self.path, &error))?;
        if self.unpacked > MAX_UNPACKED_BYTES { Err(self.too_large()) } else { Ok(()) }
    }

    fn failed(&self, source: io::Error) -> ManagedRuntimeError {
        ManagedRuntimeError::CacheNotWritable { path: self.cache.root().to_owned(), source }
    }

    fn unsafe_entry(&self, entry: &str) -> ManagedRuntimeError {
        ManagedRuntimeError::UnsafeEntry { path: self.path.to_owned(), entry: entry.to_owned() }
    }

    fn too_large(&self) -> ManagedRuntimeError {
        too_large(self.path)
    }
}

pub(super) fn too_large(path: &Path) -> ManagedRuntimeError {
    ManagedRuntimeError::TooLarge { path: path.to_owned(), limit: MAX_UNPACKED_BYTES, entries: MAX_ENTRIES }
}

/// Returns whether a link's target is within the archive: relative, and with `..` only at its beginning, because `..` after
/// another link would not be the lexical parent.
fn is_inside(link: &Path, target: &Path) -> bool {
    let depth = link.components().count().saturating_sub(1);
    let parents = target.components().take_while(|part| *part == Component::ParentDir).count();
    let rest_is_normal =
        target.components().skip(parents).all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    rest_is_normal && parents <= depth && target.components().next().is_some()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    /// Writes an archive; an entry with the mode of a link has its target as content.
    fn archive(folder: &Path, entries: &[(&str, &[u8], u32)]) -> PathBuf {
        let path = folder.join("code.zip");
        let mut writer = ZipWriter::new(File::create(&path).unwrap());
        for (name, content, mode) in entries {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            if mode & 0o170_000 == 0o120_000 {
                writer.add_symlink(*name, String::from_utf8_lossy(content), options).unwrap();
            } else {
                writer.start_file(*name, options.unix_permissions(*mode)).unwrap();
                writer.write_all(content).unwrap();
            }
        }
        writer.finish().unwrap();
        path
    }

    fn extract(entries: &[(&str, &[u8], u32)]) -> (tempfile::TempDir, Result<PathBuf, ManagedRuntimeError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(folder.path(), entries);
        let cache = RuntimeCache::open(&folder.path().join("cache"), None).unwrap();
        let extracted = extract_archive(&path, "code", &cache);
        (folder, extracted)
    }

    #[test]
    fn files_modes_and_links_are_extracted_once() {
        let entries: [(&str, &[u8], u32); 3] = [
            ("bootstrap", b"#!/bin/sh\n", 0o755),
            ("lib/app.py", b"def handler(): pass\n", 0o644),
            ("bin/app", b"../lib/app.py", 0o120_777),
        ];
        let (folder, extracted) = extract(&entries);
        let code = extracted.unwrap();
        let mode = |name: &str| code.join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("bootstrap"), mode("lib/app.py")), (0o700, 0o600));
        assert_eq!(fs::read(code.join("bin/app")).unwrap(), entries[1].1);
        fs::write(code.join("mark"), "").unwrap();
        let cache = RuntimeCache::open(&folder.path().join("cache"), None).unwrap();
        let again = extract_archive(&folder.path().join("code.zip"), "code", &cache).unwrap();
        assert!(again.join("mark").exists(), "the archive was extracted again");
    }

    #[test]
    fn entries_that_lead_out_of_the_archive_are_rejected() {
        for (name, content, mode) in [
            ("../evil", &b"x"[..], 0o644),
            ("a/../../evil", b"x", 0o644),
            ("link", b"../evil", 0o120_777),
            ("a/link", b"../../evil", 0o120_777),
            ("link", b"/etc", 0o120_777),
            ("link", b"a/../..", 0o120_777),
        ] {
            let (folder, extracted) = extract(&[(name, content, mode)]);
            let error = extracted.unwrap_err();
            assert!(matches!(error, ManagedRuntimeError::UnsafeEntry { .. }), "{name}: {error}");
            assert!(!folder.path().join("evil").exists() && !folder.path().join("cache/evil").exists());
        }
    }

    #[test]
    fn no_file_is_written_through_a_link() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().to_string_lossy().into_owned();
        let (_folder, extracted) = extract(&[("a", target.as_bytes(), 0o120_777), ("a/evil", b"x", 0o644)]);
        assert!(extracted.is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_no_archive_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code.zip");
        fs::write(&path, "not a zip").unwrap();
        let cache = RuntimeCache::open(&folder.path().join("cache"), None).unwrap();
        let error = extract_archive(&path, "code", &cache).unwrap_err();
        assert!(error.to_string().contains("code.zip is not a valid zip archive"), "{error}");
    }
}
