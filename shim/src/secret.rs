//! Text that must not be shown: it has no `Display`, and its `Debug` says only that it is there.

use std::fmt;
use std::sync::Arc;

/// A secret text, cheap to clone. Two are equal when their texts are; the comparison is not meant for untrusted input.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes a secret over.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The secret itself, to be used at once and stored nowhere.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
