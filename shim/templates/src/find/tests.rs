use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{TemplateFormat, find_template};

fn directory_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    directory
}

fn set_age(path: &Path, age: Duration) {
    #[expect(clippy::disallowed_methods, reason = "file times are real times")]
    let time = SystemTime::now() - age;
    let file = std::fs::File::options().write(true).open(path).expect("the file exists");
    file.set_modified(time).expect("the file time can be set");
}

/// Files with their texts, the path of the template in the directory, and its format.
type FormatCase<'c> = (&'c [(&'c str, &'c str)], &'c str, TemplateFormat);

#[test]
fn each_format_is_found() {
    let cases: [FormatCase<'_>; 7] = [
        (&[("twinway.routes.toml", ""), ("template.yaml", "")], "twinway.routes.toml", TemplateFormat::Routes),
        (&[("template.yml", "")], "template.yml", TemplateFormat::CloudFormation),
        (&[("template.json", "{}")], "template.json", TemplateFormat::CloudFormation),
        (&[("cdk.out/manifest.json", "{}"), ("cdk.out/cdk.out", "{}")], "cdk.out", TemplateFormat::CdkOutput),
        (&[("serverless.yml", "")], "serverless.yml", TemplateFormat::Serverless),
        (&[("main.tf", "")], "", TemplateFormat::Terraform),
        (&[("main.tf", ""), ("plan.json", "{}")], "plan.json", TemplateFormat::Terraform),
    ];
    for (files, path, format) in cases {
        let directory = directory_with(files);
        let found = find_template(directory.path()).expect("the template is found");
        assert_eq!((found.path, found.format), (directory.path().join(path), format));
    }
}

#[test]
fn a_file_is_its_own_template() {
    let directory =
        directory_with(&[("chat.toml", ""), ("x.yaml", ""), ("plan.json", "{\"planned_values\":{}}"), ("a.txt", "")]);
    let format = |name: &str| find_template(&directory.path().join(name)).map(|found| found.format);
    assert_eq!(format("chat.toml"), Ok(TemplateFormat::Routes));
    assert_eq!(format("x.yaml"), Ok(TemplateFormat::CloudFormation));
    assert_eq!(format("plan.json"), Ok(TemplateFormat::Terraform));
    assert!(format("a.txt").is_err_and(|error| error.message.contains("is no known template")));
}

#[test]
fn several_templates_are_listed() {
    let directory = directory_with(&[("template.yaml", ""), ("serverless.yml", ""), ("a.tf", "")]);
    let error = find_template(directory.path()).expect_err("the directory is ambiguous");
    assert_eq!(error.message, "the directory has several templates: template.yaml, serverless.yml, *.tf");
    assert_eq!(error.fix, "give the path of one of them");
}

#[test]
fn a_directory_without_template_has_a_remedy() {
    let error = find_template(directory_with(&[]).path()).expect_err("nothing is there");
    assert!(error.fix.contains("twinway.routes.toml"), "{error}");
    let error = find_template(directory_with(&[("cdk.json", "{}")]).path()).expect_err("nothing is there");
    assert!(error.fix.starts_with("run cdk synth"), "{error}");
    let error = find_template(Path::new("/nonexistent")).expect_err("nothing is there");
    assert_eq!(error.message, "the directory does not exist");
}

#[test]
fn samconfig_has_stack_name_and_parameters() {
    let config = "
[default.global.parameters]
stack_name = 'chat'
[default.deploy.parameters]
region = 'eu-west-1'
template = 'infra/app.yaml'
parameter_overrides = 'Stage=prod Text=\"two words\" ParameterKey=Old,ParameterValue=1'
";
    let directory = directory_with(&[("samconfig.toml", config), ("infra/app.yaml", ""), ("template.yaml", "")]);
    let found = find_template(directory.path()).expect("the template is found");
    assert_eq!(found.path, directory.path().join("infra/app.yaml"));
    assert_eq!((found.stack_name.as_deref(), found.region.as_deref()), (Some("chat"), Some("eu-west-1")));
    let parameters: Vec<(&str, &str)> =
        found.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(parameters, [("Old", "1"), ("Stage", "prod"), ("Text", "two words")]);
}

#[test]
fn a_newer_build_is_preferred() {
    let directory = directory_with(&[("template.yaml", ""), (".aws-sam/build/template.yaml", "")]);
    let (source, built) =
        (directory.path().join("template.yaml"), directory.path().join(".aws-sam/build/template.yaml"));
    set_age(&source, Duration::from_secs(60));
    assert_eq!(find_template(directory.path()).expect("found").path, built);
    set_age(&built, Duration::from_secs(120));
    assert_eq!(find_template(directory.path()).expect("found").path, source);
}
