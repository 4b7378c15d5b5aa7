//! Intrinsic functions, by the variables of a function.

use super::{context, fixture, of_severity, read, read_in};
use crate::cloudformation::read_cloudformation;
use crate::context::ApplicationContext;
use crate::model::Severity;

/// A template whose only function has the variable `V`.
fn with_variable(value: &str, sections: &str) -> String {
    format!(
        "{sections}
Resources:
  Table: {{ Type: AWS::DynamoDB::Table, Properties: {{ KeySchema: [{{ AttributeName: a, KeyType: HASH }}] }} }}
  Topic: {{ Type: AWS::SNS::Topic }}
  G: {{ Type: AWS::Lambda::Function, Properties: {{ Runtime: nodejs22.x, Handler: a.b, Code: {{ ZipFile: x }} }} }}
  F:
    Type: AWS::Lambda::Function
    Properties:
      Runtime: nodejs22.x
      Handler: index.handler
      Code: {{ ZipFile: x }}
      Environment: {{ Variables: {{ V: {value} }} }}
"
    )
}

fn variable(value: &str) -> String {
    let application = read(&with_variable(value, ""));
    assert_eq!(of_severity(&application, Severity::Error), Vec::<&crate::Finding>::new(), "{value}");
    application.functions["F"].environment["V"].clone()
}

/// Returns the line and message of the only error.
fn error(value: &str, sections: &str) -> (usize, String) {
    let application = read(&with_variable(value, sections));
    let errors = of_severity(&application, Severity::Error);
    assert_eq!(errors.len(), 1, "{value}: {errors:#?}");
    (errors[0].location.line, errors[0].message.clone())
}

#[test]
fn every_function_is_evaluated_in_short_and_long_form() {
    let table_arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/app-Table";
    let topic_arn = "arn:aws:sns:eu-west-1:123456789012:app-Topic";
    let function_arn = "arn:aws:lambda:eu-west-1:123456789012:function:app-G";
    let cases = [
        ("!Ref AWS::Region", "eu-west-1"),
        ("{ Ref: AWS::AccountId }", "123456789012"),
        ("!Ref AWS::StackName", "app"),
        ("!Ref AWS::Partition", "aws"),
        ("!Ref AWS::URLSuffix", "amazonaws.com"),
        ("!Ref Table", "app-Table"),
        ("!Ref Topic", topic_arn),
        ("!GetAtt Table.Arn", table_arn),
        ("{ 'Fn::GetAtt': [Table, Arn] }", table_arn),
        ("{ 'Fn::GetAtt': Table.Arn }", table_arn),
        ("!GetAtt G.Arn", function_arn),
        ("!Sub '${AWS::Region}-${Table}-${Table.Arn}'", &format!("eu-west-1-app-Table-{table_arn}")),
        ("!Sub ['${A}-${!B}', { A: !Ref Table }]", "app-Table-${B}"),
        ("{ 'Fn::Sub': 'plain ${' }", "plain ${"),
        ("!Join ['-', [a, !Ref Table]]", "a-app-Table"),
        ("!Select [1, [a, b]]", "b"),
        ("!Select ['0', !Split ['/', 'x/y']]", "x"),
        ("!Join ['', !Split ['/', 'x/y']]", "xy"),
        ("!Base64 text", "dGV4dA=="),
        ("!Select [0, !GetAZs '']", "eu-west-1a"),
        ("{ 'Fn::Length': [a, b] }", "2"),
        ("{ 'Fn::ToJsonString': { a: 1 } }", "{\"a\":1}"),
        ("12.50", "12.50"),
        ("yes", "true"),
        ("0123", "0123"),
    ];
    for (value, expected) in cases {
        assert_eq!(variable(value), expected, "{value}");
    }
}

#[test]
fn conditions_mappings_and_no_value_are_evaluated() {
    let path = fixture("http/template.yaml");
    let text = std::fs::read_to_string(&path).expect("the fixture exists");
    let application = read_cloudformation(&path, &text, &context()).expect("the fixture has no syntax error");
    let variables = &application.functions["Rooms"].environment;
    let expected = [
        ("LEVEL", "debug"),
        ("ZONE", "b"),
        ("HOST", "b"),
        ("MODE", "fast"),
        ("EITHER", "yes"),
        ("ENCODED", "dGV4dA=="),
        ("FLAG", "true"),
        ("NUMBER", "012345678901"),
        ("ROOMS", "app-Rooms2"),
    ];
    for (name, value) in expected {
        assert_eq!(variables[name], value, "{name}");
    }
    assert!(!variables.contains_key("OPTIONAL"));
}

#[test]
fn given_parameters_replace_defaults() {
    let path = fixture("http/template.yaml");
    let text = std::fs::read_to_string(&path).expect("the fixture exists");
    let parameters = [("Environment".to_owned(), "prod".to_owned())].into();
    let context = ApplicationContext { parameters, ..context() };
    let application = read_cloudformation(&path, &text, &context).expect("the fixture has no syntax error");
    assert_eq!(application.functions["Rooms"].environment["LEVEL"], "error");
    assert!(application.findings.iter().any(|finding| finding.location.element == "Resources.ProdOnly"));
}

#[test]
fn parameters_have_types() {
    let sections = "Parameters:
  Ports: { Type: CommaDelimitedList, Default: '80, 443' }
  Count: { Type: Number, Default: 3 }
  Word: { Type: String, Default: a, AllowedValues: [a, b] }";
    let parameters = [("Count", "x"), ("Word", "c")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let context = ApplicationContext { parameters, ..context() };
    let value = "!Select [1, !Ref Ports]";
    assert_eq!(read(&with_variable(value, sections)).functions["F"].environment["V"], "443");
    for (value, message) in [
        ("!Ref Count", "the parameter Count is \"x\", but must be a number; give a number"),
        ("!Ref Word", "the parameter Word is \"c\", which its AllowedValues do not contain; give one of a, b"),
    ] {
        let application = read_in(&with_variable(value, sections), &context);
        assert_eq!(of_severity(&application, Severity::Error)[0].message, message);
    }
}

#[test]
fn imports_are_values_of_the_context() {
    let template = with_variable("!ImportValue shared-table", "");
    let imports = [("shared-table".to_owned(), "t1".to_owned())].into();
    let context = ApplicationContext { imports, ..context() };
    assert_eq!(read_in(&template, &context).functions["F"].environment["V"], "t1");
}

#[test]
fn unresolved_values_are_errors_with_line_and_remedy() {
    let parameter =
        "Parameters: { Key: { Type: String }, Stored: { Type: 'AWS::SSM::Parameter::Value<String>', Default: /a } }";
    let mappings = "Mappings: { M: { a: { b: 1 } } }";
    let conditions = "Conditions: { IsProd: !Equals [a, b] }";
    let cases = [
        ("!Ref Tabel", "", "Ref names Tabel, which is neither a parameter nor a resource; did you mean Table?"),
        (
            "!GetAtt Nothing.Arn",
            "",
            "Fn::GetAtt names Nothing, which is neither a parameter nor a resource; add it to Parameters or Resources",
        ),
        (
            "!Sub '${Zzz}'",
            "",
            "Ref names Zzz, which is neither a parameter nor a resource; add it to Parameters or Resources",
        ),
        ("!Ref Key", parameter, "the parameter Key has no default and no value; give a value for the parameter Key"),
        (
            "!Ref Stored",
            parameter,
            "the parameter Stored is a value of the Parameter Store and no value; give a value for the parameter Stored",
        ),
        ("!ImportValue x", "", "Fn::ImportValue needs the export x of another stack; give a value for the import x"),
        (
            "!FindInMap [M, a, c]",
            mappings,
            "Mappings has no M.a.c; add the key to the mapping, or give another parameter or region",
        ),
        ("!If [IsPord, a, b]", conditions, "the condition IsPord does not exist; did you mean IsProd?"),
        ("!Select [2, [a, b]]", "", "Fn::Select has the index 2, but its list has 2 items; indexes start with 0"),
        ("!Cidr [10.0.0.0/8, 2]", "", "Fn::Cidr is not supported; write the value instead"),
        ("!Join [a]", "", "Fn::Join has wrong arguments; write Fn::Join: [separator, [text, text]]"),
        ("[a, b]", "", "V is a list, but must be a text"),
    ];
    for (value, sections, message) in cases {
        assert_eq!(error(value, sections), (12, message.to_owned()), "{value}");
    }
}

#[test]
fn circles_are_errors() {
    let conditions = "Conditions: { A: !Not [Condition: B], B: !Not [Condition: A] }";
    let (line, message) = error("!If [A, a, b]", conditions);
    assert_eq!(
        (line, message.as_str()),
        (1, "circular reference: condition A → condition B → condition A; remove one of the references")
    );
    let (line, message) = error("!Ref Other", "");
    assert!(line > 0 && message.contains("neither"), "{message}");
    let template = "
Resources:
  A:
    Type: AWS::Lambda::Function
    Properties: { Runtime: nodejs22.x, Handler: a.b, Code: { ZipFile: x }, Environment: { Variables: { B: !Ref B } } }
  B:
    Type: AWS::Lambda::Function
    Properties: { Runtime: nodejs22.x, Handler: a.b, Code: { ZipFile: x }, FunctionName: !Sub '${A}-b' }
";
    let application = read(template);
    let errors = of_severity(&application, Severity::Error);
    assert_eq!(
        errors[0].message,
        "circular dependency: A (line 3) → B (line 6) → A (line 3); remove one of the references"
    );
}
