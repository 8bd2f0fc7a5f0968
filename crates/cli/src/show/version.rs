//! `version`.

use lighter_client::{Client, Query};
use lighter_engine_api::{PlatformName, SystemVersion};
use lighter_go_template::{Field, Nil, Struct, Template, Value, to_json};
use serde::Serialize;

use super::typed::typed;
use super::{Error, Shown, ask};

/// What a client says of itself.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ClientVersion {
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<PlatformName>,
    /// Its version.
    pub(crate) version: String,
    /// The version of the API that is spoken.
    pub(crate) api_version: String,
    /// The newest version of the API that it speaks.
    #[serde(rename = "DefaultAPIVersion")]
    pub(crate) default_api_version: String,
    /// Which commit it was built from.
    pub(crate) git_commit: String,
    /// What it was built with.
    pub(crate) go_version: String,
    /// The operating system.
    pub(crate) os: String,
    /// The architecture, in Go's words.
    pub(crate) arch: String,
    /// When it was built.
    pub(crate) build_time: String,
    /// The context.
    pub(crate) context: String,
}

/// The versions of this client and, if it answers, of the engine. `format` may be empty.
pub(crate) fn version(client: &Client, own: &ClientVersion, format: &str) -> Result<Shown, Error> {
    let template = match format {
        "" | "json" => None,
        text => Some(
            Template::parse("version", text)
                .map_err(|e| Error::Format(format!("template parsing error: {e}")))?,
        ),
    };
    let mut errors = Vec::new();
    let server = match ask::get::<SystemVersion>(client, "/version", &Query::new()) {
        Ok(server) => Some(readable(server)),
        Err(error) => {
            errors.push(Error::from(error));
            None
        }
    };
    let mut own = own.clone();
    own.api_version = client.api_version().to_owned();
    let out = match &template {
        None if format == "json" => to_json(&value(&own, server.as_ref())) + "\n",
        None => pretty(&own, server.as_ref()),
        Some(template) => {
            let mut out = String::new();
            let ran = template.execute_into(&value(&own, server.as_ref()), &mut out);
            // Without an engine, what it would have said is missing: its absence is the error.
            if errors.is_empty() {
                errors.extend(ran.err().map(|e| Error::Text(e.to_string())));
            }
            out + "
"
        }
    };
    Ok(Shown {
        out,
        errors,
        ..Shown::default()
    })
}

fn value(own: &ClientVersion, server: Option<&SystemVersion>) -> Value {
    let field = |name, value| Field {
        name,
        json: name,
        omit_empty: false,
        value,
    };
    let server = match server {
        Some(server) => typed(server, "*types.Version"),
        None => Value::Nil(Nil::Pointer("*types.Version")),
    };
    let fields = vec![
        field("Client", typed(own, "system.clientVersion")),
        field("Server", server),
    ];
    Value::Struct(std::rc::Rc::new(Struct {
        type_name: "system.versionInfo",
        fields,
        ..Struct::default()
    }))
}

/// Dates for people, as Docker's client makes them; an old engine has no components.
fn readable(mut server: SystemVersion) -> SystemVersion {
    for component in &mut server.components {
        if let Some(date) = component
            .details
            .as_mut()
            .and_then(|details| details.get_mut("BuildTime"))
        {
            *date = people_date(date);
        }
    }
    server
}

/// `2026-09-15T11:02:57.000000000+00:00` as `Tue Sep 15 11:02:57 2026`; what is no date stays.
fn people_date(date: &str) -> String {
    let parsed = jiff::fmt::temporal::DateTimeParser::new().parse_datetime(date);
    parsed.map_or_else(
        |_| date.to_owned(),
        |t| t.strftime("%a %b %e %H:%M:%S %Y").to_string(),
    )
}

fn pretty(own: &ClientVersion, server: Option<&SystemVersion>) -> String {
    let platform = |name: Option<&PlatformName>| match name {
        Some(platform) if !platform.name.is_empty() => format!(" {}", platform.name),
        _ => String::new(),
    };
    let mut api = own.api_version.clone();
    if own.api_version != own.default_api_version {
        api = format!("{api} (downgraded from {})", own.default_api_version);
    }
    let mut out = format!("Client:{}\n", platform(own.platform.as_ref()));
    for (key, value) in [
        ("Version", own.version.as_str()),
        ("API version", &api),
        ("Go version", &own.go_version),
        ("Git commit", &own.git_commit),
        ("Built", &own.build_time),
        ("OS/Arch", &format!("{}/{}", own.os, own.arch)),
        ("Context", &own.context),
    ] {
        line(&mut out, 1, key, value);
    }
    let Some(server) = server else { return out };
    out.push_str(&format!("\nServer:{}\n", platform(Some(&server.platform))));
    for component in &server.components {
        let empty = Default::default();
        let details = component.details.as_ref().unwrap_or(&empty);
        let of = |key: &str| details.get(key).map(String::as_str).unwrap_or_default();
        out.push_str(&format!(" {}:\n", component.name));
        line(&mut out, 2, "Version", &component.version);
        if component.name != "Engine" {
            details
                .iter()
                .for_each(|(key, value)| line(&mut out, 2, key, value));
            continue;
        }
        line(
            &mut out,
            2,
            "API version",
            &format!("{} (minimum version {})", of("ApiVersion"), of("MinAPIVersion")),
        );
        line(&mut out, 2, "Go version", of("GoVersion"));
        line(&mut out, 2, "Git commit", of("GitCommit"));
        line(&mut out, 2, "Built", of("BuildTime"));
        line(&mut out, 2, "OS/Arch", &format!("{}/{}", of("Os"), of("Arch")));
        line(&mut out, 2, "Experimental", of("Experimental"));
    }
    out
}

fn line(out: &mut String, indent: usize, key: &str, value: &str) {
    let key = format!("{:indent$}{key}:", "");
    out.push_str(&format!("{key:<20}{value}\n"));
}
