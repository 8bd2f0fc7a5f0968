//! `info`.

use lighter_client::Client;
use lighter_engine_api::SystemInfo;
use lighter_go_template::{Field, Struct, Template, Value, to_json};
use serde::Serialize;
use std::rc::Rc;

use super::typed::typed;
use super::version::ClientVersion;
use super::{Error, Shown, details};

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

/// What the engine is and how much it holds. Warnings are errors that do not count: they come in [`Info::warnings`].
#[derive(Debug, Default)]
pub(crate) struct Info {
    /// What is shown, and what went wrong.
    pub(crate) shown: Shown,
    /// For standard error, a line each.
    pub(crate) warnings: Vec<String>,
}

/// The engine about itself. `debug` is this client's own.
pub(crate) fn info(client: &Client, own: &ClientVersion, debug: bool, format: &str) -> Result<Info, Error> {
    let template = match format {
        "" | "json" => None,
        text => Some(Template::parse("", text).map_err(|e| Error::Format(format!("template parsing error: {e}")))?),
    };
    let mut errors = Vec::new();
    let server = match client.info() {
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
                own.platform.as_ref().filter(|p| !p.name.is_empty()).map(|p| format!(" {}", p.name)).unwrap_or_default(),
                own.version,
                own.context
            );
            if let Some(server) = &server {
                out.push_str(&details::server(server));
                warnings.extend(server.warnings.iter().flatten().cloned());
            }
            out
        }
        Some(template) => match template.execute(&value(own, debug, server.as_ref())) {
            Ok(text) if errors.is_empty() => text + "\n",
            Ok(_) => "\n".into(),
            Err(error) => {
                if errors.is_empty() {
                    errors.push(Error::Text(error.to_string()));
                }
                "\n".into()
            }
        },
    };
    Ok(Info { shown: Shown { out, errors }, warnings })
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
    let Value::Struct(server) = typed(server.unwrap_or(&empty), "system.dockerInfo") else { return Value::Null };
    let mut server: Struct = Rc::unwrap_or_clone(server);
    server.fields.push(Field { name: "ClientInfo", json: "ClientInfo", omit_empty: false, value: typed(&client, "system.clientInfo") });
    Value::Struct(Rc::new(server))
}
