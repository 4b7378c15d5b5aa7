//! Languages that run through the runtime interface client that AWS publishes: Java, Ruby and .NET.
//!
//! The client is in the cache, or its package manager installs it there at the first use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cache::RuntimeCache;
use super::error::ManagedRuntimeError;
use super::layers::LayerRoot;
use super::runtime_id::{RuntimeFamily, RuntimeId};

const JAVA_CLIENT: &str = "the client aws-lambda-java-runtime-interface-client";
const JAVA_CLIENT_VERSION: &str = "2.6.0";
const JAVA_MAIN_CLASS: &str = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda";
const RUBY_CLIENT: &str = "the gem aws_lambda_ric";
const RUBY_CLIENT_VERSION: &str = "3.1.3";
const DOTNET_CLIENT: &str = "the client Amazon.Lambda.RuntimeSupport";
const DOTNET_CLIENT_FILE: &str = "Amazon.Lambda.RuntimeSupport.dll";

/// Returns the arguments of the language's interpreter that start its client with `handler`.
pub(super) fn client_arguments(
    runtime: &RuntimeId,
    cache: &RuntimeCache,
    task_root: &Path,
    layers: &LayerRoot,
    handler: &str,
) -> Result<Vec<String>, ManagedRuntimeError> {
    match runtime.family {
        RuntimeFamily::Java => {
            let client = installed_client(runtime, cache, "java", JAVA_CLIENT, install_java)?;
            Ok(java_arguments(&client, task_root, layers, handler))
        }
        RuntimeFamily::Ruby => {
            let client = installed_client(runtime, cache, "ruby", RUBY_CLIENT, install_ruby)?;
            Ok(ruby_arguments(&client, handler))
        }
        _ => dotnet_arguments(runtime, cache, task_root, handler),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The class path of Lambda: the client, the classes of the function, its libraries, those of layers.
fn java_arguments(client: &Path, task_root: &Path, layers: &LayerRoot, handler: &str) -> Vec<String> {
    let roots = layers.path.iter().cloned().chain([PathBuf::from("/opt")]);
    let libraries = roots.map(|root| text(&root.join("java/lib/*")));
    let own = [text(&client.join("*")), format!("{}/", task_root.display()), text(&task_root.join("lib/*"))];
    let class_path = own.into_iter().chain(libraries).collect::<Vec<_>>().join(":");
    // Lambda's default for functions: tiered compilation stops at level 1, because processes live briefly.
    let options = ["-XX:+TieredCompilation", "-XX:TieredStopAtLevel=1"].map(str::to_owned);
    let command = ["-cp".to_owned(), class_path, JAVA_MAIN_CLASS.to_owned(), handler.to_owned()];
    options.into_iter().chain(command).collect()
}

/// Puts the gems of the client on the load path and calls it, which needs no variable of RubyGems.
fn ruby_arguments(client: &Path, handler: &str) -> Vec<String> {
    let folders = fs::read_dir(client.join("gems")).into_iter().flatten().flatten();
    let mut arguments: Vec<String> = folders.flat_map(|gem| ["-I".to_owned(), text(&gem.path().join("lib"))]).collect();
    let script = "require 'aws_lambda_ric'; AwsLambdaRIC::Bootstrap.new.start".to_owned();
    arguments.extend(["-e".to_owned(), script, "--".to_owned(), handler.to_owned()]);
    arguments
}

/// An executable assembly has its name as handler and contains the client; a class library (`Assembly::Class::Method`) needs it.
fn dotnet_arguments(
    runtime: &RuntimeId,
    cache: &RuntimeCache,
    task_root: &Path,
    handler: &str,
) -> Result<Vec<String>, ManagedRuntimeError> {
    let Some((assembly, _)) = handler.split_once("::") else {
        return Ok(vec![text(&task_root.join(format!("{handler}.dll")))]);
    };
    let folder = cache.root().join("clients/dotnet");
    let client = folder.join(DOTNET_CLIENT_FILE);
    if !client.is_file() {
        let remedy = format!(
            "publish an executable that uses it, and set the handler to the assembly's name; or put its published files into {}",
            folder.display()
        );
        return Err(client_error(runtime, DOTNET_CLIENT, remedy));
    }
    let described = |suffix: &str| text(&task_root.join(format!("{assembly}.{suffix}.json")));
    Ok(vec![
        "exec".to_owned(),
        "--depsfile".to_owned(),
        described("deps"),
        "--runtimeconfig".to_owned(),
        described("runtimeconfig"),
        text(&client),
        handler.to_owned(),
    ])
}

fn client_error(runtime: &RuntimeId, client: &'static str, remedy: String) -> ManagedRuntimeError {
    ManagedRuntimeError::ClientNotFound { runtime: runtime.to_string(), client, remedy }
}

/// Returns the directory of a client. Files that an operator put into `clients/{language}` of the cache have precedence.
fn installed_client(
    runtime: &RuntimeId,
    cache: &RuntimeCache,
    language: &str,
    client: &'static str,
    install: fn(&Path) -> Result<(), String>,
) -> Result<PathBuf, ManagedRuntimeError> {
    let own = cache.root().join("clients").join(language);
    if own.is_dir() {
        return Ok(own);
    }
    let key = format!("{language}-{}", if language == "java" { JAVA_CLIENT_VERSION } else { RUBY_CLIENT_VERSION });
    cache.place("installed", &key, |folder| {
        tracing::info!(function.runtime = %runtime, client, "installing the runtime interface client");
        install(folder).map_err(|reason| {
            let remedy = format!("its installation failed ({reason}); put its files into {}", own.display());
            client_error(runtime, client, remedy)
        })
    })
}

fn install_java(folder: &Path) -> Result<(), String> {
    let project = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>runtime</groupId><artifactId>client</artifactId><version>1</version><dependencies><dependency>\
         <groupId>com.amazonaws</groupId><artifactId>aws-lambda-java-runtime-interface-client</artifactId>\
         <version>{JAVA_CLIENT_VERSION}</version></dependency></dependencies></project>"
    );
    let file = folder.join("pom.xml");
    fs::write(&file, project).map_err(|error| error.to_string())?;
    let output = format!("-DoutputDirectory={}", folder.display());
    run_installer("mvn", &["-B", "-q", "-f", &text(&file), "dependency:copy-dependencies", &output])
}

fn install_ruby(folder: &Path) -> Result<(), String> {
    let folder = text(folder);
    run_installer(
        "gem",
        &["install", "--no-document", "--version", RUBY_CLIENT_VERSION, "--install-dir", &folder, "aws_lambda_ric"],
    )
}

/// Runs a package manager of `PATH` with the environment of this process, which has its proxy and registry.
fn run_installer(command: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(command).args(arguments).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let lines = [output.stdout, output.stderr].concat();
            let lines = String::from_utf8_lossy(&lines);
            Err(format!("{command}: {}", lines.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default()))
        }
        Err(error) => Err(format!("{command}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotnet_executable_needs_no_client_and_a_class_library_does() {
        let folder = tempfile::tempdir().unwrap();
        let cache = RuntimeCache::open(&folder.path().join("cache"), None).unwrap();
        let runtime = RuntimeId::parse("dotnet8").unwrap();
        let arguments = |handler| dotnet_arguments(&runtime, &cache, Path::new("/code"), handler);
        assert_eq!(arguments("App").unwrap(), ["/code/App.dll"]);
        let error = arguments("App::App.Function::Handle").unwrap_err().to_string();
        assert!(error.contains("Amazon.Lambda.RuntimeSupport") && error.contains("clients/dotnet"), "{error}");
        let client = cache.root().join("clients/dotnet");
        fs::create_dir_all(&client).unwrap();
        fs::write(client.join(DOTNET_CLIENT_FILE), "").unwrap();
        let line = arguments("App::App.Function::Handle").unwrap();
        assert_eq!(line[..4], ["exec", "--depsfile", "/code/App.deps.json", "--runtimeconfig"]);
        assert_eq!(line.last().unwrap(), "App::App.Function::Handle");
    }
}
