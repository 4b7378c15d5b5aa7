//! Text for any number of sockets, with a compressed form that is created at most once.
//!
//! Clones share both forms. The first socket that needs the compressed form creates it; others that need it at the same
//! time wait, for less than a millisecond with API Gateway's message sizes. It is not created when no socket needs it.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::deflate::compress_text;

/// Text of a message (UTF-8), shared by all its receivers. `Debug` shows only its length.
///
/// ```
/// use websocket::SharedText;
///
/// let text = SharedText::from(r#"{"type":"message"}"#.repeat(100));
/// let compressed = text.compressed_form().expect("repeated text is compressible");
/// assert!(compressed.len() < text.len());
/// ```
#[derive(Clone)]
pub struct SharedText(Arc<SharedTextInner>);

struct SharedTextInner {
    text: Bytes,
    compressed: OnceLock<Option<Box<[u8]>>>,
}

impl SharedText {
    /// Returns the compressed form, which lives as long as the text; `None` when compression saves nothing.
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
