//! `--format`: tables, templates and JSON over rows.

use std::collections::BTreeMap;
use std::rc::Rc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lighter_go_template::{Field, Functions, Method, Struct, Template, Value};

use super::Error;
use super::tab;
use super::units;

/// The time, and how this user's wall shows it.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// Now.
    pub(crate) now: Timestamp,
    /// The user's time zone.
    pub(crate) zone: TimeZone,
}

impl Clock {
    /// How long ago: `3 hours ago`.
    pub(crate) fn ago(&self, seconds: i64) -> String {
        let then = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        units::duration(self.now.duration_since(then)) + " ago"
    }

    /// As Go prints a time: `2026-01-01 00:00:00 +0000 UTC`.
    pub(crate) fn go_time(&self, seconds: i64) -> String {
        let then = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        then.to_zoned_datetime(self.zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S %z %Z")
            .to_string()
    }

    /// As Go prints a time in JSON, without fractions: `2026-01-01T00:00:00Z`.
    pub(crate) fn rfc3339(&self, seconds: i64) -> String {
        let then = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        let zoned = then.to_zoned_datetime(self.zone.clone());
        let zone = if zoned.offset().is_zero() { "Z" } else { "%:z" };
        zoned.strftime(&format!("%Y-%m-%dT%H:%M:%S{zone}")).to_string()
    }
}

/// What is known of a kind of rows.
pub(crate) struct Columns {
    /// The Go type of a row, as errors show it.
    pub(crate) type_name: &'static str,
    /// Placeholders and their headings.
    pub(crate) headings: &'static [(&'static str, &'static str)],
}

/// One row: the placeholders and what stands for them.
pub(crate) struct Row {
    pub(crate) fields: Vec<(&'static str, Value)>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

/// Applies a format: `table …`, `json`, or a template.
pub(crate) fn rows(format: &str, columns: &Columns, rows: Vec<Row>) -> Result<String, Error> {
    let (is_table, text) = match format.strip_prefix("table") {
        Some(rest) => (true, rest),
        None => (false, if format == "json" { "{{json .}}" } else { format }),
    };
    let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
    let wrong = |error: lighter_go_template::Error| Error::Text(format!("template parsing error: {error}"));
    let template = Template::parse("", &text).map_err(wrong)?;
    let mut out = String::new();
    for row in rows {
        out.push_str(&template.execute(&row.value(columns)).map_err(wrong)?);
        out.push('\n');
    }
    if !is_table {
        return Ok(out);
    }
    let heading = template
        .execute_with(&heading(columns), Functions::Heading)
        .map_err(wrong)?;
    Ok(tab::table(&format!("{heading}\n{out}")))
}

impl Row {
    pub(crate) fn value(self, columns: &Columns) -> Value {
        let json: BTreeMap<String, Value> = self
            .fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        let mut fields: Vec<Field> = self
            .fields
            .into_iter()
            .map(|(name, value)| Field {
                name,
                json: name,
                omit_empty: false,
                value,
            })
            .collect();
        if let Some(labels) = self.labels {
            let method = move |args: &[Value]| match args {
                [Value::Str(name)] => Ok(Value::Str(labels.get(name).cloned().unwrap_or_default())),
                _ => Err(format!(
                    "wrong number of args for Label: want 1 got {}",
                    args.len()
                )),
            };
            fields.push(Field {
                name: "Label",
                json: "",
                omit_empty: false,
                value: Value::Method(Method(Rc::new(method))),
            });
        }
        Value::Struct(Rc::new(Struct {
            type_name: columns.type_name,
            pointer: true,
            methods: true,
            fields,
            json: Some(Box::new(Value::Map(json))),
        }))
    }
}

/// The headings as data; a key that has none is nothing, as with Docker.
fn heading(columns: &Columns) -> Value {
    let label = |args: &[Value]| match args {
        [Value::Str(name)] => Ok(Value::Str(
            name.rsplit('.')
                .next()
                .unwrap_or_default()
                .replace(['-', '_'], " "),
        )),
        _ => Err(format!(
            "wrong number of args for Label: want 1 got {}",
            args.len()
        )),
    };
    let mut map: BTreeMap<String, Value> = columns
        .headings
        .iter()
        .map(|(name, heading)| ((*name).to_owned(), Value::from(*heading)))
        .collect();
    map.insert("Label".into(), Value::Method(Method(Rc::new(label))));
    Value::Map(map)
}

/// A name in Go's double quotes.
pub(crate) fn quoted(text: &str) -> String {
    let template = Template::parse("", "{{printf \"%q\" .}}").and_then(|t| t.execute(&Value::from(text)));
    template.unwrap_or_default()
}
