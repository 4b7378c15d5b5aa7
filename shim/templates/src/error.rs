//! Errors of templates: file, line, column, cause and remedy.

use std::fmt;
use std::path::{Path, PathBuf};

/// Line and column of a value, counted from 1; 0 if unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub(crate) struct Position {
    pub line: usize,
    pub column: usize,
}

/// A template that cannot be read. A reader reports all errors of a file at once: the first, and the others in
/// [`Self::further`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError {
    pub file: PathBuf,
    /// Line, counted from 1; 0 if the error concerns the complete file.
    pub line: usize,
    /// Column in characters, counted from 1; 0 if unknown.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// How to fix it; empty if the message says so.
    pub fix: String,
    /// Other errors of the same file, in the order of their lines.
    pub further: Vec<TemplateError>,
}

impl TemplateError {
    /// An error at a position; add the remedy with [`Self::with_fix`].
    pub(crate) fn new(file: &Path, position: Position, message: impl Into<String>) -> Self {
        let Position { line, column } = position;
        let message = message.into();
        Self { file: file.to_owned(), line, column, message, fix: String::new(), further: Vec::new() }
    }

    /// Sets the remedy.
    pub(crate) fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    /// Returns one error for a list; `None` for an empty list.
    pub(crate) fn combine(mut errors: Vec<Self>) -> Option<Self> {
        errors.sort_by_key(|error| (error.line, error.column));
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        first.further.extend(errors);
        Some(first)
    }

    /// Reads a text file. `purpose` completes the message: "cannot read the {purpose}".
    pub(crate) fn reading(file: &Path, purpose: &str, cause: &std::io::Error) -> Self {
        Self::new(file, Position::default(), format!("cannot read the {purpose}: {cause}"))
    }
}

/// An error with its position, before the file is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub position: Position,
    pub message: String,
    /// Remedy; may be empty.
    pub fix: String,
}

impl Problem {
    pub(crate) fn new(position: Position, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { position, message: message.into(), fix: fix.into() }
    }

    pub(crate) fn in_file(self, file: &Path) -> TemplateError {
        TemplateError::new(file, self.position, self.message).with_fix(self.fix)
    }

    /// Returns message and remedy as one text, for a finding.
    pub(crate) fn text(&self) -> String {
        if self.fix.is_empty() { self.message.clone() } else { format!("{}; {}", self.message, self.fix) }
    }
}

/// One line per error: `file:line:column: message; fix`.
impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        for number in [self.line, self.column].into_iter().take_while(|number| *number > 0) {
            write!(f, ":{number}")?;
        }
        write!(f, ": {}", self.message)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        self.further.iter().try_for_each(|error| write!(f, "\n{error}"))
    }
}

impl std::error::Error for TemplateError {}
