//! Formats an error and its sources in one line.
//!
//! Every log line and every command that reports an error uses [`chain`]; `tests/scripts/log_errors.py` fails on a log
//! field that formats an error in another way. This package has no dependencies, so every other package may use it.
//!
//! ```
//! let source = std::io::Error::other("connection refused");
//! let error = std::io::Error::other(source);
//! assert_eq!(errors::chain(&error).to_string(), "connection refused");
//! ```

#![warn(missing_docs)]

use std::error::Error;
use std::fmt;
use std::iter::successors;

/// An error and its sources, separated by `: `. Returned by [`chain`].
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'e>(&'e (dyn Error + 'e));

/// Formats `error` and its sources, outermost first. A source whose text is already part of the line is omitted,
/// because many errors of other crates print their source themselves.
///
/// The line is formatted when the value is displayed, so a filtered log line costs nothing.
#[must_use]
pub fn chain<'e>(error: &'e (dyn Error + 'e)) -> ErrorChain<'e> {
    ErrorChain(error)
}

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        for source in successors(self.0.source(), |source| (*source).source()) {
            let text = source.to_string();
            if !line.contains(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
        }
        f.write_str(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layer(&'static str, Option<Box<Layer>>);

    impl fmt::Display for Layer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|source| source as &(dyn Error + 'static))
        }
    }

    fn error_of(texts: &[&'static str]) -> Layer {
        let (first, rest) = texts.split_first().unwrap();
        Layer(first, (!rest.is_empty()).then(|| Box::new(error_of(rest))))
    }

    #[test]
    fn every_source_is_part_of_the_line() {
        assert_eq!(chain(&error_of(&["outer"])).to_string(), "outer");
        assert_eq!(chain(&error_of(&["outer", "middle", "inner"])).to_string(), "outer: middle: inner");
    }

    #[test]
    fn a_source_that_its_error_prints_itself_appears_once() {
        assert_eq!(chain(&error_of(&["outer: inner", "inner"])).to_string(), "outer: inner");
        assert_eq!(chain(&error_of(&["outer (middle)", "middle", "inner"])).to_string(), "outer (middle): inner");
    }

    #[test]
    fn boxed_errors_are_formatted_like_any_other() {
        let boxed: Box<dyn Error + Send + Sync> = Box::new(error_of(&["outer", "inner"]));
        assert_eq!(chain(&*boxed).to_string(), "outer: inner");
    }
}
