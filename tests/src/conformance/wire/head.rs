//! Head of an HTTP response, unmodified.

use anyhow::Context as _;

/// Status line and header fields; names keep their case.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// Status line.
    pub status_line: String,
    /// Status.
    pub status: u16,
    /// Header fields in their order.
    pub fields: Vec<(String, String)>,
}

impl ResponseHead {
    /// Parses a head up to and including the empty line.
    ///
    /// # Errors
    /// It is not an HTTP response.
    pub fn parse(raw: &[u8]) -> anyhow::Result<Self> {
        let text = std::str::from_utf8(raw).context("the head is not text")?;
        let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
        let status_line = lines.next().context("an empty head")?.to_owned();
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("no status in {status_line:?}"))?;
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        Ok(Self { status_line, status, fields })
    }

    /// Returns the value of the first field called `name`, compared case-insensitively.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns the names of all fields in lower case, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        names.sort();
        names
    }
}
