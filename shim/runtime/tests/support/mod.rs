//! Functions with managed runtimes for tests: files in a temporary directory, run by the interpreters of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use runtime_api::{
    FunctionCode, FunctionDefinition, FunctionLimits, FunctionSpec, InvokeError, LambdaFunction, ManagedRuntimeError,
    ManagedSettings, Program, resolve_program,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A directory with the sources of a function, its layers, and a cache.
pub struct Project {
    pub folder: TempDir,
    pub cache: PathBuf,
    pub environment: BTreeMap<String, String>,
    pub layers: Vec<PathBuf>,
    pub limits: FunctionLimits,
}

impl Project {
    pub fn new(files: &[(&str, &str)]) -> Self {
        let limits = FunctionLimits {
            timeout: Duration::from_secs(20),
            init_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            min_processes: 0,
            max_processes: 1,
            concurrency: 1,
            queue_capacity: 4,
        };
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        let project = Self { folder, cache, environment: BTreeMap::new(), layers: Vec::new(), limits };
        fs::create_dir(project.path("code")).unwrap();
        for (name, text) in files {
            project.write(&format!("code/{name}"), text);
        }
        project
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        if text.starts_with("#!") {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        path
    }

    pub fn resolve(&self, runtime: &str, handler: &str, code: FunctionCode) -> Result<Program, ManagedRuntimeError> {
        let spec = FunctionSpec {
            runtime: runtime.to_owned(),
            handler: handler.to_owned(),
            code,
            layers: self.layers.clone(),
            environment: self.environment.clone(),
        };
        let search_path = std::env::var_os("PATH").unwrap().into_string().unwrap();
        let settings = ManagedSettings { cache_directory: self.cache.clone(), search_path, user: None };
        resolve_program(&spec, &settings).map(|resolved| resolved.program)
    }

    pub fn program(&self, runtime: &str, handler: &str) -> Program {
        self.resolve(runtime, handler, FunctionCode::Directory(self.path("code"))).unwrap()
    }

    pub fn start(&self, program: Program) -> Running {
        let definition = FunctionDefinition {
            name: "tested".to_owned(),
            program,
            partition: "aws".to_owned(),
            region: "eu-north-1".to_owned(),
            account_id: "123456789012".to_owned(),
            memory_mib: 256,
            availability_zone_id: Some("eun1-az2".to_owned()),
            environment: self.environment.clone(),
            library_path: None,
            user: None,
            supervisor: None,
            limits: self.limits.clone(),
        };
        let clock = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis().try_into().unwrap_or(0));
        Running(Arc::new(LambdaFunction::start(definition, Arc::new(clock))))
    }
}

/// A running function.
#[derive(Clone)]
pub struct Running(pub Arc<LambdaFunction>);

impl Running {
    pub async fn invoke(&self, event: Value) -> Result<Value, InvokeError> {
        let result = self.0.invoke(Bytes::from(event.to_string())).await?;
        Ok(serde_json::from_slice(&result).unwrap_or_else(|_| json!(String::from_utf8_lossy(&result))))
    }

    /// Returns type and message of the error of an invocation.
    pub async fn failure(&self, event: Value) -> (String, String) {
        match self.invoke(event).await.unwrap_err() {
            InvokeError::Function { kind, message } => (kind, message),
            InvokeError::Exited { reason } => ("Runtime.ExitError".to_owned(), reason),
            other => (other.to_string(), String::new()),
        }
    }
}
