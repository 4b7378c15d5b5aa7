//! A text on its way to any number of sockets, and its compressed form, made at most once for all of them.
//!
//! Invariant: clones share both. The first socket that needs the compressed form makes it; others that need it in that
//! moment wait for it, for less than a millisecond where API Gateway's sizes hold. What nobody needs is not made.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::deflate::compress_text;

/// A message's text (UTF-8), shared by all its receivers. `Debug` shows its length only.
#[derive(Clone)]
pub struct SharedText(Arc<SharedTextInner>);

struct SharedTextInner {
    text: Bytes,
    compressed: OnceLock<Option<Box<[u8]>>>,
}

impl SharedText {
    /// The text as [`compress_text`] has it; `None` where that saves nothing. It is kept as long as the text is, and is never
    /// longer.
    pub fn compressed_form(&self) -> Option<&[u8]> {
        self.0.compressed.get_or_init(|| compress_text(&self.0.text)).as_deref()
    }
}

impl Deref for SharedText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.text
    }
}

impl From<Bytes> for SharedText {
    fn from(text: Bytes) -> Self {
        Self(Arc::new(SharedTextInner { text, compressed: OnceLock::new() }))
    }
}

impl From<String> for SharedText {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl fmt::Debug for SharedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedText({} bytes)", self.len())
    }
}
