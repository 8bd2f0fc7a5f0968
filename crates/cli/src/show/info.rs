//! `info`.

use lighter_client::{Client, Query};
use lighter_engine_api::SystemInfo;
use lighter_go_template::{Field, Nil, Struct, Template, Value, to_json};
use serde::Serialize;
use std::rc::Rc;

use super::typed::typed;
use super::version::ClientVersion;
use super::{Error, Shown, ask, details};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ClientInfo<'a> {
    debug: bool,
    version: &'a str,
    #[serde(rename = "DefaultAPIVersion")]
    default_api_version: &'a str,
    git_commit: &'a str,
    go_version: &'a str,
    os: &'a str,
    arch: &'a str,
    build_time: &'a str,
    context: &'a str,
    plugins: [String; 0],
    warnings: Option<String>,
}

/// The engine about itself. `debug` is this client's own.
pub(crate) fn info(client: &Client, own: &ClientVersion, debug: bool, format: &str) -> Result<Shown, Error> {
    let template = match format {
        "" | "json" => None,
        text => Some(
            Template::parse("", text).map_err(|e| Error::Format(format!("template parsing error: {e}")))?,
        ),
    };
    let mut errors = Vec::new();
    let server = match ask::get::<SystemInfo>(client, "/info", &Query::new()) {
        Ok(server) => Some(server),
        Err(error) => {
            errors.push(Error::from(error));
            None
        }
    };
    let mut warnings = Vec::new();
    let out = match template {
        None if format == "json" => to_json(&value(own, debug, server.as_ref())) + "\n",
        None => {
            let mut out = format!(
                "Client:{}\n Version:    {}\n Context:    {}\n Debug Mode: {debug}\n\nServer:\n",
                own.platform
                    .as_ref()
                    .filter(|p| !p.name.is_empty())
                    .map(|p| format!(" {}", p.name))
                    .unwrap_or_default(),
                own.version,
                own.context
            );
            if let Some(server) = &server {
                out.push_str(&details::server(server));
                warnings.extend(server.warnings.iter().flatten().cloned());
            }
            out
        }
        Some(template) => {
            let mut out = String::new();
            let ran = template.execute_into(&value(own, debug, server.as_ref()), &mut out);
            if errors.is_empty() {
                errors.extend(ran.err().map(|e| Error::Text(e.to_string())));
            } else {
                out.clear();
            }
            out + "
"
        }
    };
    Ok(Shown {
        out,
        warnings,
        errors,
    })
}

fn value(own: &ClientVersion, debug: bool, server: Option<&SystemInfo>) -> Value {
    let client = ClientInfo {
        debug,
        version: &own.version,
        default_api_version: &own.default_api_version,
        git_commit: &own.git_commit,
        go_version: &own.go_version,
        os: &own.os,
        arch: &own.arch,
        build_time: &own.build_time,
        context: &own.context,
        plugins: [],
        warnings: None,
    };
    let empty = SystemInfo::default();
    let Value::Struct(info) = typed(server.unwrap_or(&empty), "system.dockerInfo") else {
        return Value::Null;
    };
    let mut info: Struct = Rc::unwrap_or_clone(info);
    if server.is_none() {
        info.fields
            .iter_mut()
            .for_each(|field| nothing(&mut field.value, field.name));
    }
    info.fields.push(Field {
        name: "ClientInfo",
        json: "ClientInfo",
        omit_empty: false,
        value: typed(&client, "system.clientInfo"),
    });
    Value::Struct(Rc::new(info))
}

/// What was never filled is nil.
fn nothing(value: &mut Value, name: &str) {
    match value {
        Value::List(items) if items.is_empty() => *value = Value::Nil(Nil::List),
        Value::Map(map) if map.is_empty() => *value = Value::Nil(Nil::Map),
        Value::Struct(_) if name == "RegistryConfig" => {
            *value = Value::Nil(Nil::Pointer("*registry.ServiceConfig"))
        }
        _ => {}
    }
}
