//! Programs of functions that name a managed runtime, such as `nodejs22.x`, with a handler such as `app.handler`.
//!
//! ```text
//! FunctionSpec ─┬─ runtime id ── interpreter on PATH ─┐
//!               ├─ code: directory, zip, inline ──────┼─▶ Program: interpreter, loader, handler, search paths
//!               └─ layers ── merged directory ────────┘
//! ```
//! Node.js and Python run through loaders of this crate, which need no native module. Java, Ruby and .NET run through the
//! clients that AWS publishes. Loaders, extracted archives and merged layers are in a private cache directory.

mod archive;
mod cache;
mod clients;
mod error;
mod interpreter;
mod layers;
mod runtime_id;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::cache::RuntimeCache;
pub use self::cache::default_cache_directory;
pub use self::error::ManagedRuntimeError;
use self::interpreter::{Interpreter, find_interpreter};
use self::layers::LayerRoot;
use self::runtime_id::{RuntimeFamily, RuntimeId};
use crate::definition::FunctionUser;
use crate::program::{Program, ProgramPlatform, check_executable};

/// Modules of the loader of Node.js; the first one is its main module.
const NODE_LOADER: [(&str, &str); 6] = [
    ("main.mjs", include_str!("managed/loaders/node/main.mjs")),
    ("api.mjs", include_str!("managed/loaders/node/api.mjs")),
    ("console.mjs", include_str!("managed/loaders/node/console.mjs")),
    ("errors.mjs", include_str!("managed/loaders/node/errors.mjs")),
    ("handler.mjs", include_str!("managed/loaders/node/handler.mjs")),
    ("settings.mjs", include_str!("managed/loaders/node/settings.mjs")),
];
const PYTHON_LOADER: [(&str, &str); 1] = [("python.py", include_str!("managed/loaders/python.py"))];

/// Variable with a script that starts the runtime (Lambda developer guide, `runtimes-modify`).
const EXEC_WRAPPER_VARIABLE: &str = "AWS_LAMBDA_EXEC_WRAPPER";

/// A function as its template describes it.
#[derive(Clone)]
pub struct FunctionSpec {
    /// Runtime id, such as `nodejs22.x`, `python3.13` or `provided.al2023`.
    pub runtime: String,
    /// Handler, such as `app.handler`; ignored for `provided.*`, except as `_HANDLER`.
    pub handler: String,
    pub code: FunctionCode,
    /// Directories or zip archives of layers; later ones override earlier ones. At most 5.
    pub layers: Vec<PathBuf>,
    /// Variables of the function. `AWS_LAMBDA_EXEC_WRAPPER` and `NODE_OPTIONS` change the program.
    pub environment: BTreeMap<String, String>,
}

/// Code of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionCode {
    /// Directory of the sources or of an unpacked deployment package.
    Directory(PathBuf),
    /// Zip archive; it is extracted once.
    Archive(PathBuf),
    /// Source text; it becomes `index.js` or `index.py`.
    Inline(String),
}

/// Settings of managed runtimes.
#[derive(Debug, Clone)]
pub struct ManagedSettings {
    /// Private directory of loaders, extracted archives and merged layers; created if it does not exist.
    pub cache_directory: PathBuf,
    /// `PATH` in which interpreters are looked up.
    pub search_path: String,
    /// User of the functions, if it differs from that of this process. Its group may read the cache.
    pub user: Option<FunctionUser>,
}

/// A program that can be started.
#[derive(Debug, Clone)]
pub struct ResolvedProgram {
    pub program: Program,
    /// Differences to Lambda that operators should see, such as another version of the interpreter.
    pub warnings: Vec<String>,
}

/// Returns the program of a function. Starts the interpreter once to read its version, extracts archives and merges
/// layers, so it may take seconds; call it outside of asynchronous tasks.
///
/// # Errors
/// [`ManagedRuntimeError`] when the runtime is unknown or retired, its interpreter is not installed, or the code or a
/// layer cannot be read. The text names the fix.
pub fn resolve_program(
    spec: &FunctionSpec,
    settings: &ManagedSettings,
) -> Result<ResolvedProgram, ManagedRuntimeError> {
    let runtime = RuntimeId::parse(&spec.runtime)?;
    let cache = RuntimeCache::open(&settings.cache_directory, settings.user)?;
    let mut warnings: Vec<String> = runtime.deprecation_warning().into_iter().collect();
    let task_root = locate_code(&spec.code, &runtime, &cache)?;
    let layers = LayerRoot::prepare(&spec.layers, &cache)?;
    let resolution = Resolution { spec, settings, runtime, cache, task_root, layers };
    let (program, version_warning) = resolution.program()?;
    warnings.extend(version_warning);
    Ok(ResolvedProgram { program, warnings })
}

/// Returns the directory of the code.
fn locate_code(code: &FunctionCode, runtime: &RuntimeId, cache: &RuntimeCache) -> Result<PathBuf, ManagedRuntimeError> {
    match code {
        FunctionCode::Directory(path) => match path.canonicalize() {
            Ok(path) if path.is_dir() => Ok(path),
            Ok(path) => Err(ManagedRuntimeError::NotADirectory(path)),
            Err(source) => Err(ManagedRuntimeError::Unreadable { path: path.clone(), source }),
        },
        FunctionCode::Archive(path) => archive::extract_archive(path, "code", cache),
        FunctionCode::Inline(source) => {
            let name = runtime.inline_file().ok_or_else(|| ManagedRuntimeError::InlineCode(runtime.to_string()))?;
            cache.place_files("inline", &[(name, source)])
        }
    }
}

/// Inputs of one resolution.
struct Resolution<'s> {
    spec: &'s FunctionSpec,
    settings: &'s ManagedSettings,
    runtime: RuntimeId,
    cache: RuntimeCache,
    task_root: PathBuf,
    layers: LayerRoot,
}

impl Resolution<'_> {
    /// Returns the program, and a warning when the version of its interpreter differs.
    fn program(&self) -> Result<(Program, Option<String>), ManagedRuntimeError> {
        if self.runtime.family == RuntimeFamily::Provided {
            let program = Program::from_bootstrap(&self.task_root, &self.settings.search_path)?;
            let program = Program { platform: self.platform(None), ..program };
            return Ok((program.with_handler(&self.spec.handler), None));
        }
        let interpreter = find_interpreter(&self.runtime, &self.settings.search_path)?;
        check_executable(&interpreter.path, &self.settings.search_path)?;
        let handler = self.layers.translate(&self.spec.handler);
        let arguments = self.arguments(&interpreter, &handler)?;
        let (executable, arguments) = self.wrap(interpreter.path.clone(), arguments)?;
        let platform = self.platform(Some(&interpreter));
        let program = Program { executable, arguments, task_root: self.task_root.clone(), handler, platform };
        Ok((program, interpreter.version_warning(&self.runtime)))
    }

    /// Returns the arguments of the interpreter.
    fn arguments(&self, interpreter: &Interpreter, handler: &str) -> Result<Vec<String>, ManagedRuntimeError> {
        let loader = |files: &[(&str, &str)]| -> Result<String, ManagedRuntimeError> {
            Ok(self.cache.place_files("loaders", files)?.join(files[0].0).to_string_lossy().into_owned())
        };
        match self.runtime.family {
            RuntimeFamily::Node => {
                reject_typescript(&self.task_root, handler)?;
                let mut arguments = node_flags(interpreter, self.spec.environment.get("NODE_OPTIONS"));
                arguments.extend([loader(&NODE_LOADER)?, handler.to_owned()]);
                Ok(arguments)
            }
            RuntimeFamily::Python => Ok(vec![loader(&PYTHON_LOADER)?, handler.to_owned()]),
            RuntimeFamily::Java | RuntimeFamily::Ruby | RuntimeFamily::Dotnet | RuntimeFamily::Provided => {
                clients::client_arguments(&self.runtime, &self.cache, &self.task_root, &self.layers, handler)
            }
        }
    }

    /// Puts the function's wrapper script in front of the command line.
    fn wrap(&self, executable: PathBuf, arguments: Vec<String>) -> Result<(PathBuf, Vec<String>), ManagedRuntimeError> {
        let Some(wrapper) = self.spec.environment.get(EXEC_WRAPPER_VARIABLE).filter(|wrapper| !wrapper.is_empty())
        else {
            return Ok((executable, arguments));
        };
        let wrapper = PathBuf::from(self.layers.translate(wrapper));
        check_executable(&wrapper, &self.settings.search_path)?;
        Ok((wrapper, [vec![executable.to_string_lossy().into_owned()], arguments].concat()))
    }

    fn platform(&self, interpreter: Option<&Interpreter>) -> ProgramPlatform {
        let roots: Vec<PathBuf> = self.layers.path.iter().cloned().chain([PathBuf::from("/opt")]).collect();
        let in_layers = |folders: &[String]| -> Vec<String> {
            let joined = |root: &PathBuf| folders.iter().map(|folder| root.join(folder)).collect::<Vec<_>>();
            roots.iter().flat_map(joined).map(|path| path.to_string_lossy().into_owned()).collect()
        };
        let own = interpreter.and_then(|found| found.path.parent()).map(|path| path.to_string_lossy().into_owned());
        let system = ["/usr/local/bin", "/usr/bin", "/bin"].map(str::to_owned);
        let mut paths = BTreeMap::from([
            ("PATH", own.into_iter().chain(system).chain(in_layers(&["bin".to_owned()])).collect()),
            ("LD_LIBRARY_PATH", in_layers(&["lib".to_owned()])),
        ]);
        if let Some((variable, folders, sdk)) = self.module_paths(interpreter) {
            let mut all = in_layers(&folders);
            all.extend(sdk.map(|folder| self.cache.root().join("sdk").join(folder).to_string_lossy().into_owned()));
            if self.runtime.family == RuntimeFamily::Node {
                all.push(self.task_root.to_string_lossy().into_owned());
            }
            paths.insert(variable, all);
        }
        if self.runtime.family == RuntimeFamily::Ruby {
            let version = format!("{}.0", interpreter.map_or(&self.runtime.version, |found| &found.version));
            let bundle = self.task_root.join("vendor/bundle/ruby").join(&version);
            let gems = in_layers(&[format!("ruby/gems/{version}")]);
            paths.insert("GEM_PATH", [vec![bundle.to_string_lossy().into_owned()], gems].concat());
        }
        ProgramPlatform {
            execution_environment: interpreter.map(|_| format!("AWS_Lambda_{}", self.spec.runtime)),
            paths,
            layer_root: self.layers.path.clone(),
            extensions: self.layers.extensions(),
        }
    }

    /// Returns the variable of the language's search path, its directories in a layer (Lambda developer guide,
    /// `packaging-layers`), and that of packages for all functions in the cache.
    fn module_paths(
        &self,
        interpreter: Option<&Interpreter>,
    ) -> Option<(&'static str, Vec<String>, Option<&'static str>)> {
        let version = &self.runtime.version;
        match self.runtime.family {
            RuntimeFamily::Node => {
                let folders = [format!("nodejs/node{version}/node_modules"), "nodejs/node_modules".to_owned()];
                Some(("NODE_PATH", folders.to_vec(), Some("nodejs/node_modules")))
            }
            RuntimeFamily::Python => {
                let found = interpreter.map_or(version, |interpreter| &interpreter.version);
                let folders = [format!("python/lib/python{found}/site-packages"), "python".to_owned()];
                Some(("PYTHONPATH", folders.to_vec(), Some("python")))
            }
            RuntimeFamily::Ruby => Some(("RUBYLIB", vec!["ruby/lib".to_owned()], None)),
            RuntimeFamily::Java | RuntimeFamily::Dotnet | RuntimeFamily::Provided => None,
        }
    }
}

/// Returns the options that Lambda sets: experimental module features are off unless `NODE_OPTIONS` turns them on
/// (Lambda developer guide, `lambda-nodejs`).
fn node_flags(interpreter: &Interpreter, options: Option<&String>) -> Vec<String> {
    let wanted = ["experimental-require-module", "experimental-detect-module"];
    let enabled = |flag: &str| options.is_some_and(|options| options.contains(&format!("--{flag}")));
    let known = wanted.into_iter().filter(|flag| interpreter.features.iter().any(|feature| feature == flag));
    known.filter(|flag| !enabled(flag)).map(|flag| format!("--no-{flag}")).collect()
}

/// Rejects a handler whose only source is TypeScript: Lambda runs JavaScript, so the deployed function would fail.
fn reject_typescript(task_root: &Path, handler: &str) -> Result<(), ManagedRuntimeError> {
    let folder = Path::new(handler).parent().unwrap_or(Path::new(""));
    let file = Path::new(handler).file_name().unwrap_or_default().to_string_lossy();
    let module = task_root.join(folder).join(file.split('.').next().unwrap_or_default());
    let exists = |extension: &str| {
        let mut name = module.clone().into_os_string();
        name.push(extension);
        PathBuf::from(name)
    };
    if module.exists() || [".js", ".mjs", ".cjs"].iter().any(|extension| exists(extension).exists()) {
        return Ok(());
    }
    match [".ts", ".mts", ".cts"].iter().map(|extension| exists(extension)).find(|path| path.exists()) {
        Some(path) => Err(ManagedRuntimeError::TypeScript(path)),
        None => Ok(()),
    }
}

/// Shows no values of the environment, because they may be secrets.
impl std::fmt::Debug for FunctionSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("FunctionSpec");
        shown.field("runtime", &self.runtime).field("handler", &self.handler).field("layers", &self.layers);
        shown.field("environment", &self.environment.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
