//! Message templates with placeholders: `{pad}` fills up to a size, `{run}` identifies this run, `{seq}` numbers a
//! broadcast.
//!
//! All renderings of one template have the same length. A number is written as `~000000000042~`, which needs no
//! escaping in JSON strings and can be found in any envelope that the server adds.

/// Length of a rendered `{seq}` in bytes: twelve digits between tildes.
pub const MARK_BYTES: usize = 14;

/// Message text with its padding filled in.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
}

impl Template {
    /// Fills in `{run}` (this process's id, so that ids differ between runs) and `{pad}` (up to `bytes` in total, if
    /// the rest is shorter).
    pub fn new(text: &str, bytes: usize) -> Self {
        let text = text.replace("{run}", &std::process::id().to_string());
        let bare = text.replace("{pad}", "").replace("{seq}", &mark(0));
        let pad = "x".repeat(bytes.saturating_sub(bare.len()));
        Self { text: text.replacen("{pad}", &pad, 1) }
    }

    /// Returns whether the text has a `{seq}`.
    pub fn is_numbered(&self) -> bool {
        self.text.contains("{seq}")
    }

    /// Returns the text with the number `sequence`.
    pub fn render(&self, sequence: u64) -> String {
        self.text.replace("{seq}", &mark(sequence))
    }
}

fn mark(sequence: u64) -> String {
    format!("~{sequence:012}~")
}

/// Finds the number in a delivered frame. `hint` is the position of the last one and is tried first, because a
/// server's envelope rarely changes between two messages.
pub fn find_mark(payload: &[u8], hint: &mut usize) -> Option<u64> {
    if let Some(sequence) = payload.get(*hint..).and_then(mark_at) {
        return Some(sequence);
    }
    let (position, sequence) = (0..payload.len()).find_map(|at| Some((at, mark_at(&payload[at..])?)))?;
    *hint = position;
    Some(sequence)
}

fn mark_at(bytes: &[u8]) -> Option<u64> {
    let mark = bytes.first_chunk::<MARK_BYTES>()?;
    if mark[0] != b'~' || mark[MARK_BYTES - 1] != b'~' {
        return None;
    }
    mark[1..MARK_BYTES - 1]
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_fills_up_to_the_size_and_never_truncates() {
        assert_eq!(Template::new("{pad}", 100).render(0).len(), 100);
        let numbered = Template::new(r#"{"id":"{seq}","p":"{pad}"}"#, 64);
        assert!(numbered.is_numbered());
        assert_eq!((numbered.render(1).len(), numbered.render(999_999).len()), (64, 64));
        assert_eq!(Template::new("longer than that", 4).render(0), "longer than that");
    }

    #[test]
    fn a_number_is_found_at_changing_positions() {
        let template = Template::new("a{seq}b", 0);
        let mut hint = 0;
        for (sequence, envelope) in [(7, "{\"o\":9,"), (8, "{\"o\":10,"), (9, "{\"o\":11,")] {
            let frame = format!("{envelope}~12~{}", template.render(sequence));
            assert_eq!(find_mark(frame.as_bytes(), &mut hint), Some(sequence));
        }
    }

    #[test]
    fn text_without_a_number_has_no_mark() {
        let mut hint = 40;
        for frame in ["", "~", "~00000000000a~", "~000000000001", "{\"message\":\"Forbidden\"}"] {
            assert_eq!(find_mark(frame.as_bytes(), &mut hint), None, "{frame}");
        }
    }
}
