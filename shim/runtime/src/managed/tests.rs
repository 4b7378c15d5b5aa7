//! Programs of functions, without starting them.

use std::fs;

use super::*;

struct Bench {
    folder: tempfile::TempDir,
    settings: ManagedSettings,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("code")).unwrap();
        let search_path = std::env::var_os("PATH").unwrap().into_string().unwrap();
        let settings = ManagedSettings { cache_directory: folder.path().join("cache"), search_path, user: None };
        Self { folder, settings }
    }

    fn spec(&self, runtime: &str, handler: &str) -> FunctionSpec {
        FunctionSpec {
            runtime: runtime.to_owned(),
            handler: handler.to_owned(),
            code: FunctionCode::Directory(self.folder.path().join("code")),
            layers: Vec::new(),
            environment: BTreeMap::new(),
        }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn resolve(&self, spec: &FunctionSpec) -> Result<ResolvedProgram, ManagedRuntimeError> {
        resolve_program(spec, &self.settings)
    }
}

#[test]
fn the_loader_runs_the_handler_with_the_search_paths_of_layers() {
    let bench = Bench::new();
    bench.write("layer/python/shared.py", "");
    let layers = vec![bench.folder.path().join("layer")];
    let spec = FunctionSpec { layers: layers.clone(), ..bench.spec("python3.13", "src/app.handler") };
    let program = bench.resolve(&spec).unwrap().program;
    let [loader, handler] = program.arguments.as_slice() else { panic!("{:?}", program.arguments) };
    assert_eq!((handler.as_str(), program.handler.as_str()), ("src/app.handler", "src/app.handler"));
    assert_eq!(fs::read_to_string(loader).unwrap(), PYTHON_LOADER[0].1);
    assert_eq!(program.platform.execution_environment.as_deref(), Some("AWS_Lambda_python3.13"));
    let root = layers[0].canonicalize().unwrap();
    let paths = &program.platform.paths["PYTHONPATH"];
    assert!(paths[0].starts_with(&format!("{}/python/lib/python3.", root.display())), "{paths:?}");
    assert!(paths.contains(&format!("{}/python", root.display())) && paths.contains(&"/opt/python".to_owned()));
    assert!(program.platform.paths["PATH"].contains(&format!("{}/bin", root.display())));
}

#[test]
fn inline_code_becomes_the_index_file() {
    let bench = Bench::new();
    for (runtime, file) in [("nodejs22.x", "index.js"), ("python3.12", "index.py")] {
        let code = FunctionCode::Inline("text".to_owned());
        let program = bench.resolve(&FunctionSpec { code, ..bench.spec(runtime, "index.handler") }).unwrap().program;
        assert_eq!(fs::read_to_string(program.task_root.join(file)).unwrap(), "text");
    }
    let code = FunctionCode::Inline("text".to_owned());
    let error = bench.resolve(&FunctionSpec { code, ..bench.spec("java21", "App::run") }).unwrap_err();
    assert!(error.to_string().contains("java21 does not support inline code"), "{error}");
}

#[test]
fn a_wrapper_of_a_layer_starts_the_runtime() {
    use std::os::unix::fs::PermissionsExt as _;

    let bench = Bench::new();
    let wrapper = bench.write("layer/wrapper", "#!/bin/sh\nexec \"$@\"\n");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let mut spec = bench.spec("nodejs22.x", "index.handler");
    spec.layers = vec![bench.folder.path().join("layer")];
    spec.environment = BTreeMap::from([(EXEC_WRAPPER_VARIABLE.to_owned(), "/opt/wrapper".to_owned())]);
    let program = bench.resolve(&spec).unwrap().program;
    assert_eq!(program.executable, wrapper.canonicalize().unwrap());
    assert!(program.arguments[0].ends_with("/node") && program.arguments.last().unwrap() == "index.handler");
}

#[test]
fn typescript_without_a_build_is_refused() {
    let bench = Bench::new();
    let source = bench.write("code/src/app.ts", "export const handler = async () => ({});");
    let error = bench.resolve(&bench.spec("nodejs22.x", "src/app.handler")).unwrap_err();
    assert!(error.to_string().contains("src/app.ts is TypeScript"), "{error}");
    fs::rename(&source, source.with_extension("mjs")).unwrap();
    bench.resolve(&bench.spec("nodejs22.x", "src/app.handler")).unwrap();
}

#[test]
fn errors_name_the_fix() {
    let bench = Bench::new();
    let text = |spec: &FunctionSpec| bench.resolve(spec).unwrap_err().to_string();
    assert!(text(&bench.spec("go1.x", "main")).contains("use provided.al2023"));
    assert!(text(&bench.spec("cobol85", "main")).contains("unknown runtime"));
    let missing = FunctionCode::Directory(PathBuf::from("/no/such/code"));
    assert!(text(&FunctionSpec { code: missing, ..bench.spec("nodejs22.x", "a.b") }).contains("/no/such/code"));
    let file = FunctionCode::Directory(bench.write("file", ""));
    assert!(text(&FunctionSpec { code: file, ..bench.spec("nodejs22.x", "a.b") }).contains("is not a directory"));
    assert!(text(&bench.spec("provided.al2023", "bootstrap")).contains("has no file 'bootstrap'"));
}

#[test]
fn experimental_features_of_node_are_off_unless_options_turn_them_on() {
    let runtime = RuntimeId::parse("nodejs22.x").unwrap();
    let found = find_interpreter(&runtime, &std::env::var_os("PATH").unwrap().into_string().unwrap()).unwrap();
    let features = vec!["experimental-require-module".to_owned(), "experimental-detect-module".to_owned()];
    let modern = Interpreter { features, ..found };
    let all = ["--no-experimental-require-module", "--no-experimental-detect-module"];
    assert_eq!(node_flags(&modern, None), all);
    assert_eq!(node_flags(&modern, Some(&"--experimental-require-module".to_owned())), all[1..]);
    assert!(node_flags(&Interpreter { features: Vec::new(), ..modern }, None).is_empty());
}
