//! Runtime ids of Lambda (Lambda developer guide, `lambda-runtimes`).

use std::fmt;

use super::error::ManagedRuntimeError;

/// Language of a runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RuntimeFamily {
    Node,
    Python,
    Ruby,
    Java,
    Dotnet,
    /// An executable `bootstrap`.
    Provided,
}

/// A runtime that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RuntimeId {
    pub family: RuntimeFamily,
    /// Version of the language: `22`, `3.13`, `21`; empty for [`RuntimeFamily::Provided`].
    pub version: String,
    id: String,
}

/// Oldest versions that Lambda supports in November 2026. Older ones in [`RuntimeId::parse`] run with a warning.
const OLDEST_SUPPORTED: [(RuntimeFamily, &str); 5] = [
    (RuntimeFamily::Node, "22"),
    (RuntimeFamily::Python, "3.10"),
    (RuntimeFamily::Ruby, "3.3"),
    (RuntimeFamily::Java, "8"),
    (RuntimeFamily::Dotnet, "8"),
];

/// Oldest versions whose functions the interpreters of today run.
const OLDEST_RUNNABLE: [(RuntimeFamily, &str); 5] = [
    (RuntimeFamily::Node, "18"),
    (RuntimeFamily::Python, "3.8"),
    (RuntimeFamily::Ruby, "3.2"),
    (RuntimeFamily::Java, "8"),
    (RuntimeFamily::Dotnet, "6"),
];

impl RuntimeId {
    pub fn parse(id: &str) -> Result<Self, ManagedRuntimeError> {
        let unknown = || ManagedRuntimeError::UnknownRuntime(id.to_owned());
        let retired = |remedy| ManagedRuntimeError::RetiredRuntime { runtime: id.to_owned(), remedy };
        let (family, version) = match id {
            "provided.al2023" | "provided.al2" | "provided" => (RuntimeFamily::Provided, ""),
            "go1.x" => {
                return Err(retired(
                    "build the function as executable 'bootstrap' (GOOS=linux go build -tags lambda.norpc -o bootstrap), and use provided.al2023",
                ));
            }
            "java8.al2" => (RuntimeFamily::Java, "8"),
            "nodejs" => return Err(retired("use nodejs22.x or later")),
            _ => split_id(id).ok_or_else(unknown)?,
        };
        let runtime = Self { family, version: version.to_owned(), id: id.to_owned() };
        if runtime.is_older_than(&OLDEST_RUNNABLE) || id.starts_with("dotnetcore") {
            return Err(retired(
                "use a runtime that Lambda supports, such as nodejs22.x, python3.13, ruby3.4 or dotnet8",
            ));
        }
        Ok(runtime)
    }

    /// Returns a warning for a runtime that Lambda no longer supports.
    pub fn deprecation_warning(&self) -> Option<String> {
        let deprecated = self.is_older_than(&OLDEST_SUPPORTED) || self.id == "provided";
        deprecated.then(|| format!("Lambda no longer supports the runtime {}; update the function", self.id))
    }

    /// Returns the file that inline code becomes (CloudFormation, `AWS::Lambda::Function Code`, `ZipFile`).
    pub fn inline_file(&self) -> Option<&'static str> {
        match self.family {
            RuntimeFamily::Node => Some("index.js"),
            RuntimeFamily::Python => Some("index.py"),
            _ => None,
        }
    }

    fn is_older_than(&self, oldest: &[(RuntimeFamily, &str)]) -> bool {
        let bound = oldest.iter().find(|(family, _)| *family == self.family);
        bound.is_some_and(|(_, bound)| version_key(&self.version) < version_key(bound))
    }
}

impl fmt::Display for RuntimeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// Splits an id such as `nodejs22.x` or `python3.13` into language and version.
fn split_id(id: &str) -> Option<(RuntimeFamily, &str)> {
    let digit = id.find(|c: char| c.is_ascii_digit())?;
    let (name, version) = id.split_at(digit);
    let family = match name {
        "nodejs" => RuntimeFamily::Node,
        "python" => RuntimeFamily::Python,
        "ruby" => RuntimeFamily::Ruby,
        "java" => RuntimeFamily::Java,
        "dotnet" | "dotnetcore" => RuntimeFamily::Dotnet,
        _ => return None,
    };
    let version = version.strip_suffix(".x").unwrap_or(version);
    version.split('.').all(|part| part.parse::<u32>().is_ok()).then_some((family, version))
}

/// Returns the numbers of a version, for comparison.
pub(super) fn version_key(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn current_ids_have_family_and_version() {
        for (id, family, version) in [
            ("nodejs22.x", RuntimeFamily::Node, "22"),
            ("nodejs26.x", RuntimeFamily::Node, "26"),
            ("python3.13", RuntimeFamily::Python, "3.13"),
            ("ruby3.4", RuntimeFamily::Ruby, "3.4"),
            ("java21", RuntimeFamily::Java, "21"),
            ("java8.al2", RuntimeFamily::Java, "8"),
            ("dotnet8", RuntimeFamily::Dotnet, "8"),
            ("provided.al2023", RuntimeFamily::Provided, ""),
        ] {
            let runtime = RuntimeId::parse(id).unwrap();
            assert_eq!((runtime.family, &*runtime.version), (family, version), "{id}");
            assert_eq!(runtime.deprecation_warning(), None, "{id}");
        }
    }

    #[test]
    fn old_ids_run_with_a_warning_or_are_retired() {
        for id in ["nodejs18.x", "nodejs20.x", "python3.9", "provided"] {
            assert!(RuntimeId::parse(id).unwrap().deprecation_warning().is_some(), "{id}");
        }
        for id in ["nodejs", "nodejs16.x", "python2.7", "python3.7", "ruby2.7", "dotnetcore3.1", "go1.x"] {
            assert!(RuntimeId::parse(id).unwrap_err().to_string().contains("is retired; "), "{id}");
        }
        for id in ["", "node22", "nodejs22.y", "python", "rust1.90", "nodejs22.x "] {
            assert!(RuntimeId::parse(id).unwrap_err().to_string().contains("unknown runtime"), "{id}");
        }
    }
}
