//! Which hosts serve a registry's name, as containerd's `certs.d` directories say.

use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::{Error, Result};

/// A host to ask.
#[derive(Debug, Clone)]
pub(crate) struct HostConfig {
    /// `http` or `https`.
    pub(crate) scheme: String,
    /// Name and port.
    pub(crate) authority: String,
    /// Path of the API, without a slash at the end: `/v2`.
    pub(crate) path: String,
    /// May be asked for manifests by tag.
    pub(crate) resolve: bool,
    /// May be asked for manifests and blobs by digest.
    pub(crate) pull: bool,
    /// May be given manifests and blobs.
    pub(crate) push: bool,
    /// Not the registry itself: it is told whose content is meant.
    pub(crate) is_mirror: bool,
    /// Asked only if the host before did not speak its protocol: the same one by another.
    pub(crate) is_fallback: bool,
    /// Any certificate is good.
    pub(crate) skip_verify: bool,
    /// More authorities: files of PEM certificates.
    pub(crate) authorities: Vec<PathBuf>,
    /// Certificate and key files for us.
    pub(crate) client: Vec<(PathBuf, PathBuf)>,
    /// To be sent with each request.
    pub(crate) headers: HeaderMap,
}

/// `hosts.toml`. Source: containerd's docs/hosts.md.
#[derive(Debug, Default, Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: toml::Table,
    #[serde(flatten)]
    of_server: Section,
}

#[derive(Debug, Default, Deserialize)]
struct Section {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<toml::Value>,
    skip_verify: Option<bool>,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: toml::Table,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(PathBuf),
    Many(Vec<PathBuf>),
}

/// The hosts for `domain`, mirrors first, by the directory in `root` that is named for it.
pub(crate) fn hosts(root: Option<&Path>, domain: &str) -> Result<Vec<HostConfig>> {
    for directory in root.into_iter().flat_map(|root| directories(root, domain)) {
        let path = directory.join("hosts.toml");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                return parse(&text, &directory, domain).map_err(|source| Error::Hosts { path, source });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::Hosts {
                    path,
                    source: error.into(),
                });
            }
        }
        if directory.is_dir() {
            return docker_style(&directory, domain);
        }
    }
    Ok(servers(domain))
}

/// Leaves out each host that an earlier one is already: it would be asked the same again.
pub(crate) fn without_repeats(hosts: Vec<HostConfig>) -> Vec<HostConfig> {
    let mut kept: Vec<HostConfig> = Vec::with_capacity(hosts.len());
    for host in hosts {
        let is_repeat = kept.iter().any(|first| {
            (&first.scheme, &first.authority, &first.path) == (&host.scheme, &host.authority, &host.path)
                && (first.resolve || !host.resolve)
                && (first.pull || !host.pull)
                && (first.push || !host.push)
        });
        if !is_repeat {
            kept.push(host);
        }
    }
    kept
}

/// Where the configuration of `domain` may lie, best first.
fn directories(root: &Path, domain: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some((host, port)) = split_port(domain) {
        found.push(root.join(format!("{host}_{port}_")));
    }
    // A domain is of letters, digits and `.-:[]`, never a path.
    found.push(root.join(domain));
    if let Some((host, _)) = split_port(domain) {
        found.push(root.join(host));
    }
    found.push(root.join("_default"));
    found
}

/// Without configuration: the registry itself. On this machine plain HTTP is as good as TLS, and TLS is tried with any certificate.
fn servers(domain: &str) -> Vec<HostConfig> {
    let server = |scheme: &str, authority: &str, skip_verify| HostConfig {
        scheme: scheme.into(),
        authority: authority.into(),
        path: "/v2".into(),
        resolve: true,
        pull: true,
        push: true,
        is_mirror: false,
        is_fallback: false,
        skip_verify,
        authorities: Vec::new(),
        client: Vec::new(),
        headers: HeaderMap::new(),
    };
    let port = split_port(domain).map(|(_, port)| port);
    match domain {
        lighter_oci::DEFAULT_DOMAIN => vec![server("https", "registry-1.docker.io", false)],
        _ if is_local(domain) && port != Some("443") => {
            let fallback = HostConfig {
                is_fallback: true,
                ..server("https", domain, true)
            };
            vec![server("http", domain, true), fallback]
        }
        _ => vec![server("https", domain, false)],
    }
}

fn parse(
    text: &str,
    directory: &Path,
    domain: &str,
) -> std::result::Result<Vec<HostConfig>, Box<dyn std::error::Error + Send + Sync>> {
    let file: File = toml::from_str(text)?;
    let mut hosts = Vec::new();
    for (url, section) in file.host {
        let section: Section = section.try_into()?;
        let mut host = located(&url, section.override_path)?;
        host.is_mirror = host.authority != servers(domain)[0].authority;
        configure(&mut host, section, directory)?;
        hosts.push(host);
    }
    let section = file.of_server;
    let servers = match file.server.as_deref() {
        None | Some("") => servers(domain),
        Some(url) => {
            let mut server = located(url, section.override_path)?;
            if server.authority == lighter_oci::DEFAULT_DOMAIN {
                server.authority = "registry-1.docker.io".into();
            }
            vec![server]
        }
    };
    let mut section = Some(section);
    for mut server in servers {
        if let Some(section) = section.take() {
            configure(&mut server, section, directory)?;
        }
        hosts.push(server);
    }
    Ok(hosts)
}

/// A host by its address; without a scheme it is HTTPS, or HTTP on this machine.
fn located(
    url: &str,
    override_path: bool,
) -> std::result::Result<HostConfig, Box<dyn std::error::Error + Send + Sync>> {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
        Some(_) => return Err(format!("{url:?} is neither http nor https").into()),
        None => (None, url),
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let _: http::uri::Authority = authority.parse()?;
    let path = path.trim_end_matches('/');
    let path = match override_path || path.ends_with("/v2") {
        true => path.to_owned(),
        false => format!("{path}/v2"),
    };
    let scheme = scheme.unwrap_or(if is_local(authority) { "http" } else { "https" });
    Ok(HostConfig {
        scheme: scheme.into(),
        authority: authority.into(),
        path,
        resolve: true,
        pull: true,
        push: true,
        is_mirror: false,
        is_fallback: false,
        skip_verify: false,
        authorities: Vec::new(),
        client: Vec::new(),
        headers: HeaderMap::new(),
    })
}

fn configure(
    host: &mut HostConfig,
    section: Section,
    directory: &Path,
) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if let Some(capabilities) = section.capabilities.filter(|list| !list.is_empty()) {
        let has = |name: &str| capabilities.iter().any(|capability| capability == name);
        (host.resolve, host.pull, host.push) = (has("resolve"), has("pull"), has("push"));
    }
    host.skip_verify = section.skip_verify.unwrap_or(host.skip_verify);
    // Relative to the directory of the file.
    host.authorities = match section.ca {
        None => Vec::new(),
        Some(OneOrMany::One(path)) => vec![directory.join(path)],
        Some(OneOrMany::Many(paths)) => paths.into_iter().map(|path| directory.join(path)).collect(),
    };
    host.client = match section.client {
        None => Vec::new(),
        Some(value) => pairs(&value)?
            .into_iter()
            .map(|(cert, key)| (directory.join(cert), directory.join(key)))
            .collect(),
    };
    for (name, value) in section.header {
        let values = match value {
            toml::Value::String(text) => vec![text],
            toml::Value::Array(list) => list
                .into_iter()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect(),
            _ => return Err(format!("header {name:?} is neither a text nor a list").into()),
        };
        for value in values {
            host.headers
                .append(HeaderName::try_from(&name)?, HeaderValue::try_from(value)?);
        }
    }
    Ok(())
}

/// `"both.pem"`, `["both.pem", ...]` or `[["cert", "key"], ...]`.
fn pairs(value: &toml::Value) -> std::result::Result<Vec<(String, String)>, String> {
    let same = |text: &str| (text.to_owned(), text.to_owned());
    match value {
        toml::Value::String(text) => Ok(vec![same(text)]),
        toml::Value::Array(list) => list
            .iter()
            .map(|item| match item {
                toml::Value::String(text) => Ok(same(text)),
                toml::Value::Array(pair) => match pair.as_slice() {
                    [toml::Value::String(cert), toml::Value::String(key)] => Ok((cert.clone(), key.clone())),
                    _ => Err("a client certificate is a pair of files".to_owned()),
                },
                _ => Err("a client certificate is a file or a pair of files".to_owned()),
            })
            .collect(),
        _ => Err("client is a file or a list".to_owned()),
    }
}

/// Docker's own layout: `*.crt` are authorities, `*.cert` with `*.key` are ours.
fn docker_style(directory: &Path, domain: &str) -> Result<Vec<HostConfig>> {
    let failed = |source: std::io::Error| Error::Hosts {
        path: directory.to_owned(),
        source: source.into(),
    };
    let (mut authorities, mut client) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => authorities.push(path),
            Some("cert") => client.push((path.clone(), path.with_extension("key"))),
            _ => {}
        }
    }
    let mut hosts = servers(domain);
    for host in &mut hosts {
        host.authorities.clone_from(&authorities);
        host.client.clone_from(&client);
    }
    Ok(hosts)
}

fn split_port(domain: &str) -> Option<(&str, &str)> {
    domain
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `localhost`, or an address that is this machine's.
fn is_local(domain: &str) -> bool {
    let host = split_port(domain).map_or(domain, |(host, _)| host);
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(hosts: &[HostConfig]) -> Vec<String> {
        hosts
            .iter()
            .map(|host| format!("{}://{}{}", host.scheme, host.authority, host.path))
            .collect()
    }

    #[test]
    fn without_configuration_the_registry_itself_is_asked() {
        let check =
            |domain: &str, expected: &[&str]| assert_eq!(urls(&hosts(None, domain).unwrap()), expected);
        check("docker.io", &["https://registry-1.docker.io/v2"]);
        check("ghcr.io", &["https://ghcr.io/v2"]);
        check("example.com:5000", &["https://example.com:5000/v2"]);
        check(
            "localhost:5000",
            &["http://localhost:5000/v2", "https://localhost:5000/v2"],
        );
        check("127.0.0.9", &["http://127.0.0.9/v2", "https://127.0.0.9/v2"]);
        check("[::1]:5000", &["http://[::1]:5000/v2", "https://[::1]:5000/v2"]);
        check("127.0.0.1:443", &["https://127.0.0.1:443/v2"]);
    }

    #[test]
    fn mirrors_come_first_in_the_order_of_the_file() {
        let text = r#"
            server = "https://docker.io"
            skip_verify = false
            [host."http://z.example:5000"]
              capabilities = ["pull", "resolve"]
            [host."https://a.example/some/path"]
              capabilities = ["pull"]
              override_path = true
              skip_verify = true
              ca = "a.pem"
              client = [["c.pem", "k.pem"]]
              [host."https://a.example/some/path".header]
                x-one = "1"
                x-two = ["2", "3"]
            [host."b.example/v2/"]
              ca = ["/etc/b.pem"]
        "#;
        let hosts = parse(text, Path::new("/d"), "docker.io").unwrap();
        let expected = [
            "http://z.example:5000/v2",
            "https://a.example/some/path",
            "https://b.example/v2",
            "https://registry-1.docker.io/v2",
        ];
        assert_eq!(urls(&hosts), expected);
        assert_eq!(
            hosts
                .iter()
                .map(|host| (host.resolve, host.is_mirror))
                .collect::<Vec<_>>(),
            [(true, true), (false, true), (true, true), (true, false)]
        );
        assert!(hosts[1].skip_verify && !hosts[3].skip_verify);
        assert_eq!(hosts[1].authorities, [Path::new("/d/a.pem")]);
        assert_eq!(hosts[2].authorities, [Path::new("/etc/b.pem")]);
        assert_eq!(
            hosts[1].client,
            [(PathBuf::from("/d/c.pem"), PathBuf::from("/d/k.pem"))]
        );
        assert_eq!(hosts[1].headers.get_all("x-two").iter().count(), 2);
    }

    #[test]
    fn a_directory_is_found_by_its_names() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, server: &str| {
            std::fs::create_dir_all(root.path().join(name)).unwrap();
            std::fs::write(
                root.path().join(name).join("hosts.toml"),
                format!("server = \"https://{server}\""),
            )
            .unwrap();
        };
        let check = |domain: &str, expected: &str| {
            assert_eq!(
                urls(&hosts(Some(root.path()), domain).unwrap())[0],
                format!("https://{expected}/v2")
            );
        };
        check("a.example:5000", "a.example:5000");
        write("_default", "default");
        check("a.example:5000", "default");
        write("a.example", "by-host");
        check("a.example:5000", "by-host");
        write("a.example:5000", "by-colon");
        check("a.example:5000", "by-colon");
        write("a.example_5000_", "by-underscore");
        check("a.example:5000", "by-underscore");
        std::fs::write(root.path().join("_default/hosts.toml"), "server = 5").unwrap();
        assert!(matches!(
            hosts(Some(root.path()), "other"),
            Err(Error::Hosts { .. })
        ));
        std::fs::create_dir(root.path().join("docker.example")).unwrap();
        std::fs::write(root.path().join("docker.example/ca.crt"), "").unwrap();
        assert_eq!(
            hosts(Some(root.path()), "docker.example").unwrap()[0]
                .authorities
                .len(),
            1
        );
    }
}
