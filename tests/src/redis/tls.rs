//! Certificate authority and server certificate for one test run, created with `openssl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

/// An authority and a certificate for `127.0.0.1` that it signed. The files exist as long as any clone.
#[derive(Debug, Clone)]
pub struct Certificates(Arc<TempDir>);

impl Certificates {
    /// Generates both.
    ///
    /// # Errors
    /// `openssl` fails.
    pub fn generate() -> anyhow::Result<Self> {
        let certificates = Self(Arc::new(tempfile::tempdir()?));
        certificates.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE")?;
        certificates.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout server.key -out server.csr")?;
        std::fs::write(certificates.0.path().join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")?;
        certificates.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
        )?;
        Ok(certificates)
    }

    /// Returns the path of the authority's certificate.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.path().join("server.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.path().join("server.key")
    }

    fn openssl(&self, arguments: &str) -> anyhow::Result<()> {
        run(self.0.path(), arguments)
    }
}

fn run(directory: &Path, arguments: &str) -> anyhow::Result<()> {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .context("cannot run openssl; install it with tests/scripts/setup.sh")?;
    if !output.status.success() {
        bail!("openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
