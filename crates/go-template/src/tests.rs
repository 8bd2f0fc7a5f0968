use crate::{Template, Value};

fn data() -> Value {
    serde_json::from_str(
        r#"{"Name":"/web","Pid":7,"On":true,"Null":null,"Tags":["a","b"],"Map":{"k2":"v2","k.1":"v1"},"In":{"Deep":"x"},"Html":"<&>"}"#,
    )
    .unwrap()
}

#[track_caller]
fn check(template: &str, expected: &str) {
    let rendered = Template::parse(template).and_then(|template| template.render(&data(), None));
    assert_eq!(rendered.unwrap(), expected, "{template}");
}

#[track_caller]
fn fails(template: &str, expected: &str) {
    let rendered = Template::parse(template).and_then(|template| template.render(&data(), None));
    assert_eq!(rendered.unwrap_err(), expected, "{template}");
}

#[test]
fn fields_functions_and_blocks() {
    check("{{.Name}} {{.In.Deep}} {{.Pid}} {{.On}}", "/web x 7 true");
    check("{{.Tags}} {{.Map}}", "[a b] map[k.1:v1 k2:v2]");
    check("{{json .Tags}} {{json .Html}}", r#"["a","b"] "\u003c\u0026\u003e""#);
    check(r#"{{index .Tags 1}} {{index .Map "k.1"}} {{len .Tags}}"#, "b v1 2");
    check("{{range .Tags}}[{{.}}]{{end}}", "[a][b]");
    check("{{range $k, $v := .Map}}{{$k}}={{$v};{{end}}".replace("{{$v}", "{{$v}}").as_str(), "k.1=v1;k2=v2;");
    check("{{range .Null}}x{{else}}none{{end}}", "none");
    check("{{if .On}}yes{{else}}no{{end}} {{if eq .Pid 8}}8{{else if eq .Pid 7}}7{{end}}", "yes 7");
    check("{{with .In}}{{.Deep}} {{$.Pid}}{{end}}", "x 7");
    check("{{$x := .Pid}}{{printf \"%03d|%-4s|%q\" $x \"a\" .Name}}", "007|a   |\"/web\"");
    check("{{.Name | upper | printf \"<%s>\"}}", "</WEB>");
    check("a {{- .Pid -}} b{{/* nothing */}}", "a7b".replace("a7b", "a7b").as_str());
    check(r#"{{join .Tags ","}} {{(index .Tags 0)}} {{and .On .Pid}} {{not .On}}"#, "a,b a 7 false");
    check(r#"{{split "a:b" ":"}}{{"}}"}}"#, "[a b]}}");
    check("{{range $i, $e := .Tags}}{{if $i}}, {{end}}{{$e}}{{end}}", "a, b");
}

#[test]
fn errors_are_gos() {
    fails("{{.ID", "template: :1: unclosed action");
    fails("{{.Foo}}", "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"");
    fails("{{.In.Foo}}", "template: :1:5: executing \"\" at <.In.Foo>: map has no entry for key \"Foo\"");
    fails("{{foo}}", "template: :1: function \"foo\" not defined");
    fails("{{if .On}}", "template: :1: unexpected EOF");
    fails("{{end}}", "template: :1: unexpected {{end}}");
    let template = Template::parse("{{.Foo}}").unwrap();
    assert_eq!(
        template.render(&data(), Some("*T")).unwrap_err(),
        "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *T"
    );
}

#[test]
fn no_text_panics() {
    let words = ["{{", "}}", ".", "$", "a", "(", ")", "|", "if ", "range ", "end", "else ", "\"", "-", " ", "é", "1", ":=", ","];
    let mut seed = 7_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(words[usize::try_from(seed >> 33).unwrap() % words.len()]);
        }
        if let Ok(template) = Template::parse(&text) {
            let _ = template.render(&data(), None);
        }
    }
}
