//! Files through which function processes reach the endpoint proxy and trust its authority, in a temporary directory.
//!
//! | file | contents |
//! |---|---|
//! | `authority.pem` | the authority's certificate |
//! | `bundle.pem` | the certificates of the system, and the authority's |
//! | `bundle-N.pem` | the certificates of a file that a variable names, and the authority's |
//! | `trust.jks` | `bundle.pem` for Java |
//! | `endpoint.cjs`, `endpoint.rb` | preload scripts of Node and Ruby |
//!
//! None of them is secret. Everybody may read them, because functions may run as another user; only the server's user may
//! write them.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use pem::{EncodeConfig, LineEnding, Pem};
use system_clock::current_time;
use tempfile::TempDir;

use super::java_trust_store::java_trust_store;

/// Preload script of Node.
const NODE_PRELOAD: &str = include_str!("endpoint_files/endpoint.cjs");
/// Preload script of Ruby.
const RUBY_PRELOAD: &str = include_str!("endpoint_files/endpoint.rb");

/// The directory and its files. Dropping it deletes them.
pub struct EndpointFiles {
    directory: TempDir,
    /// The authority's certificate (PEM).
    authority: String,
    /// Files with the certificates of other files, by the name of the other file.
    extended: Mutex<BTreeMap<PathBuf, PathBuf>>,
}

impl EndpointFiles {
    /// Writes the files for an authority with this certificate (DER).
    ///
    /// # Errors
    /// The directory for temporary files cannot be written.
    pub(super) fn write(authority: &[u8]) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("twinway-functions-").tempdir()?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let files = Self { directory, authority: certificate_pem(authority), extended: Mutex::default() };
        let roots = system_roots();
        let bundle: String = roots.iter().map(|root| certificate_pem(root)).collect();
        files.write_file("authority.pem", files.authority.as_bytes())?;
        files.write_file("bundle.pem", format!("{bundle}{}", files.authority).as_bytes())?;
        let certificates: Vec<&[u8]> = roots.iter().map(Vec::as_slice).chain([authority]).collect();
        let now = u64::try_from(current_time().0).unwrap_or(0);
        files.write_file("trust.jks", &java_trust_store(certificates.into_iter(), now))?;
        files.write_file("endpoint.cjs", NODE_PRELOAD.as_bytes())?;
        files.write_file("endpoint.rb", RUBY_PRELOAD.as_bytes())?;
        Ok(files)
    }

    /// Returns the path of a file of this directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the path of a file with the certificates of `path` and the authority's.
    ///
    /// # Errors
    /// `path` is no readable text file.
    pub(super) fn extend(&self, path: &Path) -> io::Result<PathBuf> {
        let mut extended = self.extended.lock();
        if let Some(known) = extended.get(path) {
            return Ok(known.clone());
        }
        let text = fs::read_to_string(path)?;
        let name = format!("bundle-{}.pem", extended.len());
        self.write_file(&name, format!("{text}\n{}", self.authority).as_bytes())?;
        extended.insert(path.to_owned(), self.path(&name));
        Ok(self.path(&name))
    }

    fn write_file(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        fs::write(self.path(name), contents)?;
        fs::set_permissions(self.path(name), Permissions::from_mode(0o644))
    }
}

/// Returns the certificates (DER) that programs of this system trust; without any, those of Mozilla's list.
fn system_roots() -> Vec<Vec<u8>> {
    let native = rustls_native_certs::load_native_certs().certs;
    if native.is_empty() {
        return webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|root| root.to_vec()).collect();
    }
    native.iter().map(|root| root.to_vec()).collect()
}

fn certificate_pem(certificate: &[u8]) -> String {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    pem::encode_config(&Pem::new("CERTIFICATE", certificate), config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_contain_the_authority_and_other_certificates() {
        let files = EndpointFiles::write(b"authority").unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        let own = read(&files.path("authority.pem"));
        assert_eq!(own, "-----BEGIN CERTIFICATE-----\nYXV0aG9yaXR5\n-----END CERTIFICATE-----\n");
        let bundle = read(&files.path("bundle.pem"));
        assert!(bundle.ends_with(&own) && bundle.matches("BEGIN CERTIFICATE").count() > 20);
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("corporate.pem");
        fs::write(&other, "corporate").unwrap();
        let extended = files.extend(&other).unwrap();
        assert_eq!(read(&extended), format!("corporate\n{own}"));
        assert_eq!(files.extend(&other).unwrap(), extended);
        assert!(files.extend(directory.path()).is_err());
        let mode = |name: &str| fs::metadata(files.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode("authority.pem"), mode("trust.jks")), (0o755, 0o644, 0o644));
    }
}
