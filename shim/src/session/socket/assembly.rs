//! A message that arrives in several frames.

/// The text of a message so far. UTF-8 is checked when it is whole, because a character may stand across two frames.
#[derive(Debug)]
pub struct Assembly {
    text: Vec<u8>,
}

impl Assembly {
    /// Begins with the first frame's payload.
    pub fn begin(payload: &[u8]) -> Self {
        Self { text: payload.to_vec() }
    }

    /// Adds a further frame's payload.
    pub fn append(&mut self, payload: &[u8]) {
        self.text.extend_from_slice(payload);
    }

    /// How many bytes there are so far.
    pub const fn len(&self) -> usize {
        self.text.len()
    }

    /// The whole message.
    pub fn finish(self) -> Vec<u8> {
        self.text
    }
}
