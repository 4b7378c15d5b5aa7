//! HS256 secret: the configured one, or one that is generated at the first start and stored in the data directory.
//!
//! The file is created atomically, so a reader sees a complete secret even if two processes start at the same time or
//! one is killed while writing. The text of the file is the key itself, so it can be configured in other programs
//! unchanged.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use handlers::authorizer::MIN_SECRET_BYTES;

use super::data_dir;
use crate::config::{Config, DeploymentMode};
use crate::secret::Secret;

/// Random bytes of a generated secret: the output size of HMAC-SHA-256 (RFC 7518, section 3.2).
const SECRET_RANDOM_BYTES: usize = 32;

/// A secret that signs tokens.
#[derive(Debug, Clone)]
pub struct SigningSecret {
    pub secret: Secret,
    /// Whether this process has just generated it, so that no token signed with it exists yet.
    pub is_new: bool,
}

/// Failure to read or create the secret.
#[derive(Debug, thiserror::Error)]
pub enum SigningSecretError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] data_dir::DataDirError),
    /// The file cannot be read or written.
    #[error("the secret file {path} cannot be used: {source}; correct its permissions, or set TWINWAY_AUTH_SECRET")]
    File { path: PathBuf, source: io::Error },
    /// The file is shorter than [`MIN_SECRET_BYTES`].
    #[error(
        "the secret file {path} has fewer than {MIN_SECRET_BYTES} bytes; write a longer secret to it, or delete it so \
         that a new one is generated (tokens signed with the old one are then rejected)"
    )]
    TooShort { path: PathBuf },
    /// The operating system returned no random bytes.
    #[error("the operating system returned no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Returns the secret that signs tokens: the configured one; otherwise, in embedded mode without JSON Web Keys, the one
/// in the data directory, which is generated if it does not exist. Returns `None` if only an identity provider signs
/// tokens.
///
/// # Errors
/// [`SigningSecretError`], whose text contains the remedy.
pub fn signing_secret(config: &Config) -> Result<Option<SigningSecret>, SigningSecretError> {
    if let Some(secret) = &config.auth.secret {
        return Ok(Some(SigningSecret { secret: secret.clone(), is_new: false }));
    }
    // With an identity provider configured, a generated key would be a second, unrequested way to authenticate.
    if config.mode != DeploymentMode::Embedded || config.auth.jwks.is_some() {
        return Ok(None);
    }
    data_dir::create_data_dir(&config.storage.data_dir)?;
    load_or_create_secret(&config.storage.data_dir.join("secret")).map(Some)
}

fn load_or_create_secret(path: &Path) -> Result<SigningSecret, SigningSecretError> {
    if let Some(secret) = read_secret(path)? {
        return Ok(SigningSecret { secret, is_new: false });
    }
    let mut bytes = [0; SECRET_RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(SigningSecretError::Random)?;
    let text = URL_SAFE_NO_PAD.encode(bytes);
    let is_new =
        create_secret_file(path, &text).map_err(|source| SigningSecretError::File { path: path.to_owned(), source })?;
    // If another process has created the file first, its secret applies.
    match read_secret(path)? {
        Some(secret) => Ok(SigningSecret { secret, is_new }),
        None => Err(SigningSecretError::File { path: path.to_owned(), source: io::ErrorKind::NotFound.into() }),
    }
}

fn read_secret(path: &Path) -> Result<Option<Secret>, SigningSecretError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(SigningSecretError::File { path: path.to_owned(), source }),
    };
    let text = text.trim_end_matches(['\r', '\n']);
    if text.len() < MIN_SECRET_BYTES {
        return Err(SigningSecretError::TooShort { path: path.to_owned() });
    }
    Ok(Some(Secret::new(text)))
}

/// Writes the text to a temporary file and links it to `path` when it is complete. Returns `false` if `path` already
/// exists.
fn create_secret_file(path: &Path, text: &str) -> io::Result<bool> {
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(io::Error::other)?;
    let temporary = path.with_extension(URL_SAFE_NO_PAD.encode(suffix));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let linked =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::hard_link(&temporary, path));
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(directory: &Path) -> Config {
        let mut config = Config::for_tests();
        config.auth.secret = None;
        config.storage.data_dir = directory.to_owned();
        config
    }

    #[test]
    fn the_first_start_generates_a_private_secret_and_later_ones_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let config = config(&directory.path().join("data"));
        let first = signing_secret(&config).unwrap().unwrap();
        let second = signing_secret(&config).unwrap().unwrap();
        assert!(first.is_new && !second.is_new);
        assert_eq!(first.secret, second.secret);
        assert_eq!(URL_SAFE_NO_PAD.decode(first.secret.expose()).unwrap().len(), SECRET_RANDOM_BYTES);
        let data_dir = &config.storage.data_dir;
        assert_eq!(fs::metadata(data_dir.join("secret")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(data_dir).unwrap().count(), 1, "the temporary file was not removed");
    }

    #[test]
    fn concurrent_first_starts_use_the_same_secret() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let secrets: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| load_or_create_secret(&path).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| secret.secret == secrets[0].secret));
        assert_eq!(secrets.iter().filter(|secret| secret.is_new).count(), 1);
    }

    #[test]
    fn a_configured_secret_is_used_without_creating_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(&directory.path().join("data"));
        config.auth.secret = Config::for_tests().auth.secret;
        let secret = signing_secret(&config).unwrap().unwrap();
        assert!(!secret.is_new && Some(secret.secret) == config.auth.secret);
        assert!(!config.storage.data_dir.exists());
    }

    #[test]
    fn with_an_identity_provider_no_secret_is_generated() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = config(directory.path());
        config.auth.jwks = Some(crate::config::JwksSource::Url("https://issuer.example.com/jwks.json".to_owned()));
        assert!(signing_secret(&config).unwrap().is_none());
    }

    #[test]
    fn a_file_that_is_too_short_is_rejected() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "short\n").unwrap();
        let error = load_or_create_secret(&path).unwrap_err().to_string();
        assert!(error.contains("fewer than 32 bytes") && !error.contains("short"), "{error}");
    }
}
