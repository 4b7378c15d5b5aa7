//! Certificate authority, server certificates and client certificate for one test run, created with `openssl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

/// An authority and a certificate that it signed, for `127.0.0.1` unless another variant is selected. The files exist
/// as long as any clone.
#[derive(Debug, Clone)]
pub struct Certificates {
    directory: Arc<TempDir>,
    /// Name of the server certificate's file, without the ending.
    server: &'static str,
}

/// Configuration of `openssl ca`, which can sign with a validity in the past.
const AUTHORITY_CONFIG: &str = "[ca]
default_ca = authority
[authority]
database = index
serial = serial
new_certs_dir = .
certificate = ca.pem
private_key = ca.key
default_md = sha256
policy = any
x509_extensions = names
[any]
commonName = supplied
[names]
subjectAltName = IP:127.0.0.1,DNS:localhost
";

impl Certificates {
    /// Generates both.
    ///
    /// # Errors
    /// `openssl` fails.
    pub fn generate() -> anyhow::Result<Self> {
        let certificates = Self { directory: Arc::new(tempfile::tempdir()?), server: "server" };
        certificates.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE")?;
        certificates.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout server.key -out server.csr")?;
        std::fs::write(certificates.path("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")?;
        certificates.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
        )?;
        Ok(certificates)
    }

    /// Returns the same authority with a server certificate that has expired.
    ///
    /// # Errors
    /// `openssl` fails.
    pub fn expired(&self) -> anyhow::Result<Self> {
        std::fs::write(self.path("ca.cnf"), AUTHORITY_CONFIG)?;
        std::fs::write(self.path("index"), "")?;
        std::fs::write(self.path("serial"), "7f\n")?;
        self.openssl("ca -batch -notext -config ca.cnf -in server.csr -out expired.pem -startdate 20200101000000Z -enddate 20200102000000Z")?;
        self.with_server("expired")
    }

    /// Returns the same authority with a server certificate for `other.example`.
    ///
    /// # Errors
    /// `openssl` fails.
    pub fn for_other_name(&self) -> anyhow::Result<Self> {
        std::fs::write(self.path("other-names"), "subjectAltName=DNS:other.example\n")?;
        self.openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile other-names -out other.pem",
        )?;
        self.with_server("other")
    }

    /// Returns a client certificate that the authority signed, and its key.
    ///
    /// # Errors
    /// `openssl` fails.
    pub fn client(&self) -> anyhow::Result<(PathBuf, PathBuf)> {
        self.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=client -keyout client.key -out client.csr")?;
        self.openssl(
            "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out client.pem",
        )?;
        Ok((self.path("client.pem"), self.path("client.key")))
    }

    /// All server certificates have the same key.
    fn with_server(&self, server: &'static str) -> anyhow::Result<Self> {
        std::fs::copy(self.path("server.key"), self.path(&format!("{server}.key")))?;
        Ok(Self { directory: self.directory.clone(), server })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the path of the authority's certificate.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.path(&format!("{}.pem", self.server))
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path(&format!("{}.key", self.server))
    }

    fn openssl(&self, arguments: &str) -> anyhow::Result<()> {
        run(self.directory.path(), arguments)
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
