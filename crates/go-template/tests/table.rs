//! Templates, data, and what Go's `text/template` makes of them.

use lighter_go_template::{Error, Functions, MissingKey, Template, Value};
use serde_json::json;

fn data() -> Value {
    Value::from(&json!({
        "Name": "web",
        "N": 3,
        "Zero": 0,
        "F": 1.5,
        "Yes": true,
        "None": null,
        "State": {"Pid": 42, "Status": "running", "Error": ""},
        "Args": ["a", "b<c", "d"],
        "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "9/udp": []},
        "Empty": [],
    }))
}

fn outcome(text: &str) -> String {
    let result = Template::parse("", text).and_then(|t| t.missing_key(MissingKey::Error).execute(&data()));
    result.unwrap_or_else(|e: Error| format!("! {e}"))
}

fn check(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(outcome(text), *expected, "{text}");
    }
}

#[test]
fn fields_and_printing() {
    check(&[
        ("plain", "plain"),
        ("{{.Name}} {{.N}} {{.F}} {{.Yes}}", "web 3 1.5 true"),
        ("{{.State.Pid}}", "42"),
        ("{{.State}}", "map[Error: Pid:42 Status:running]"),
        ("{{.Args}}{{.Empty}}", "[a b<c d][]"),
        ("{{.None}}", "<no value>"),
        (
            "{{.Ports}}",
            "map[80/tcp:[map[HostIp:0.0.0.0 HostPort:8080]] 9/udp:[]]",
        ),
        ("{{(index .Args 1)}}", "b<c"),
        ("{{(.State).Pid}}", "42"),
        ("{{$.Name}}", "web"),
        ("{{\"a\\tb\"}}{{`raw\\t`}}", "a\tbraw\\t"),
        ("{{0x10}} {{'a'}} {{-3}} {{true}}", "16 97 -3 true"),
    ]);
}

#[test]
fn functions() {
    check(&[
        ("{{json .Args}}", r#"["a","b<c","d"]"#),
        ("{{json .State}}", r#"{"Error":"","Pid":42,"Status":"running"}"#),
        ("{{json .None}}", "null"),
        ("{{len .Args}} {{len .Name}} {{len .Ports}}", "3 3 2"),
        ("{{index .Ports \"80/tcp\" 0 \"HostPort\"}}", "8080"),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        (
            "{{printf \"%s|%5d|%-4s|%q|%v|%05d|%.1f|%t\" .Name .N \"x\" .Name .Args 7 .F .Yes}}",
            "web|    3|x   |\"web\"|[a b<c d]|00007|1.5|true",
        ),
        ("{{printf \"%d\" .Name}}", "%!d(string=web)"),
        ("{{printf \"%s %s\" .Name}}", "web %!s(MISSING)"),
        ("{{println .Name .N}}", "web 3\n"),
        ("{{print 1 2 \"a\" \"b\"}}", "1 2ab"),
        ("{{.Name | upper | printf \"%s!\"}}", "WEB!"),
        (
            "{{join .Args \",\"}} {{lower \"ABC\"}} {{title \"one two\"}}",
            "a,b<c,d abc One Two",
        ),
        (
            "{{split \"a:b\" \":\"}} {{slice .Name 1}} {{slice .Name 0 2}}",
            "[a b] eb we",
        ),
        ("{{pad .Name 1 2}}| {{truncate .Name 2}}", " web  | we"),
        (
            "{{eq .N 3}} {{eq .N 1 2 3}} {{ne .Name \"web\"}} {{lt 1 2}} {{ge 1 2}}",
            "true true false true false",
        ),
        (
            "{{and .Zero .Name}} {{or .Zero .Name}} {{not .Zero}}",
            "0 web true",
        ),
        ("{{html \"<a>\"}} {{urlquery \"a b&\"}}", "&lt;a&gt; a+b%26"),
    ]);
}

#[test]
fn control() {
    check(&[
        ("{{if .Yes}}y{{else}}n{{end}}{{if .Zero}}y{{else}}n{{end}}", "yn"),
        ("{{if .Zero}}a{{else if .Yes}}b{{else}}c{{end}}", "b"),
        (
            "{{with .State}}{{.Pid}}{{end}}{{with .Empty}}x{{else}}none{{end}}",
            "42none",
        ),
        ("{{range .Args}}<{{.}}>{{end}}", "<a><b<c><d>"),
        ("{{range $i, $a := .Args}}{{$i}}={{$a}} {{end}}", "0=a 1=b<c 2=d "),
        (
            "{{range $p, $c := .Ports}}{{$p}} -> {{len $c}};{{end}}",
            "80/tcp -> 1;9/udp -> 0;",
        ),
        ("{{range .Empty}}x{{else}}empty{{end}}", "empty"),
        (
            "{{range $i, $a := .Args}}{{if eq $i 1}}{{break}}{{end}}{{$a}}{{end}}",
            "a",
        ),
        (
            "{{range $i, $a := .Args}}{{if eq $i 1}}{{continue}}{{end}}{{$a}}{{end}}",
            "ad",
        ),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{$x := 1}}{{$x}}{{$x = 2}}{{$x}}", "12"),
        ("{{with $x := .Name}}{{$x}}{{end}}", "web"),
        ("a  {{- /* gone */ -}}  b", "ab"),
        ("a {{- .Name -}} b {{ .N }}", "awebb 3"),
    ]);
}

#[test]
fn errors_are_in_gos_words() {
    check(&[
        (
            "{{.Foo}}",
            r#"! template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo""#,
        ),
        (
            "{{.State.Foo}}",
            r#"! template: :1:8: executing "" at <.State.Foo>: map has no entry for key "Foo""#,
        ),
        (
            "x\n{{ .Name.Foo }}",
            r#"! template: :2:8: executing "" at <.Name.Foo>: can't evaluate field Foo in type interface {}"#,
        ),
        (
            "{{.None.Foo}}",
            r#"! template: :1:7: executing "" at <.None.Foo>: nil pointer evaluating interface {}.Foo"#,
        ),
        (
            "{{index .Args 9}}",
            r#"! template: :1:2: executing "" at <index .Args 9>: error calling index: index out of range: 9"#,
        ),
        (
            "{{len 3}}",
            r#"! template: :1:2: executing "" at <len 3>: error calling len: len of type int"#,
        ),
        (
            "{{.Name 3}}",
            r#"! template: :1:2: executing "" at <.Name>: Name has arguments but cannot be invoked as function"#,
        ),
        (
            "{{join}}",
            r#"! template: :1:2: executing "" at <join>: wrong number of args for join: want 2 got 0"#,
        ),
        (
            "{{lower .N}}",
            r#"! template: :1:8: executing "" at <.N>: wrong type for value; expected string; got int"#,
        ),
        (
            "{{eq .N .Name}}",
            r#"! template: :1:2: executing "" at <eq .N .Name>: error calling eq: incompatible types for comparison"#,
        ),
        (
            "{{range .Yes}}{{end}}",
            r#"! template: :1:8: executing "" at <.Yes>: range can't iterate over true"#,
        ),
        ("{{", "! template: :1: unclosed action"),
        ("{{.Name", "! template: :1: unclosed action"),
        ("{{}}", "! template: :1: missing value for command"),
        ("{{foo}}", r#"! template: :1: function "foo" not defined"#),
        ("{{end}}", "! template: :1: unexpected {{end}}"),
        ("{{if .Yes}}", "! template: :1: unexpected EOF"),
        ("{{$x}}", r#"! template: :1: undefined variable "$x""#),
        ("{{.Name}", r#"! template: :1: bad character U+007D '}'"#),
        ("{{\"a}}", "! template: :1: unterminated quoted string"),
        ("{{.Name | }}", "! template: :1: missing value for command"),
    ]);
}

#[test]
fn a_heading_keeps_what_functions_would_change() {
    let template = Template::parse("", "{{lower .Name}} {{truncate .Name 1}}").expect("a template");
    let heading = template.execute_with(&Value::from(&json!({"Name": "NAMES"})), Functions::Heading);
    assert_eq!(heading.expect("a heading"), "NAMES NAMES");
}
