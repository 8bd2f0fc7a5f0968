//! A registry behind TLS: whom to trust is said by certs.d. Needs root, docker-registry, skopeo, openssl.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod common;

use std::path::Path;
use std::process::Command;

use common::{Home, Layout, Registry, options};
use lighter_registry::Options;

/// Makes an authority and a certificate of it for 127.0.0.1: `ca.pem`, `cert.pem`, `key.pem`.
fn make_certificates(dir: &Path) {
    let script = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj /CN=authority \
            -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=registry -keyout key.pem -out request.pem
        printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' >extensions
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile extensions -out cert.pem";
    let output = Command::new("sh")
        .args(["-ec", script])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked_as_configured() {
    let certificates = tempfile::tempdir().unwrap();
    make_certificates(certificates.path());
    let path = |name: &str| certificates.path().join(name);
    let registry = Registry::start_with(&format!(
        ", tls: {{certificate: {}, key: {}}}",
        path("cert.pem").display(),
        path("key.pem").display()
    ));
    let (layout, home) = (Layout::new(), Home::new());
    let image = layout.image(&[layout.layer("echo x >x")], "amd64");
    layout.push(&image, &registry.image("app"));

    // As a name that is not this machine's, so that nothing is forgiven.
    let hosts = tempfile::tempdir().unwrap();
    let configure = |text: &str| {
        std::fs::create_dir_all(hosts.path().join("registry.example")).unwrap();
        let server = format!("server = \"https://{}\"\n{text}\n", registry.address);
        std::fs::write(hosts.path().join("registry.example/hosts.toml"), server).unwrap();
        Options {
            hosts: Some(hosts.path().to_owned()),
            ..options()
        }
    };
    let name = "registry.example/app";
    let unknown = home.pull(name, configure("")).await.0.unwrap_err();
    let text = lighter_stdx::error::chain(&unknown);
    assert!(text.contains("certificate"), "{text}");
    let other = std::fs::read("/etc/ssl/certs/ca-certificates.crt").unwrap();
    let unknown = home
        .pull(
            name,
            Options {
                authorities: other.into(),
                ..configure("")
            },
        )
        .await
        .0
        .unwrap_err();
    assert!(
        lighter_stdx::error::chain(&unknown).contains("UnknownIssuer"),
        "{unknown:?}"
    );
    let bundle = std::fs::read(path("ca.pem")).unwrap();
    home.pull(
        name,
        Options {
            authorities: bundle.into(),
            ..configure("")
        },
    )
    .await
    .0
    .unwrap();
    home.pull(name, configure(&format!("ca = \"{}\"", path("ca.pem").display())))
        .await
        .0
        .unwrap();
    home.pull(name, configure("skip_verify = true")).await.0.unwrap();
    let bad = home
        .pull(name, configure("ca = \"absent.pem\""))
        .await
        .0
        .unwrap_err();
    assert!(lighter_stdx::error::chain(&bad).contains("absent.pem"), "{bad:?}");
    // On this machine plain HTTP is tried, then TLS with any certificate.
    home.pull(&registry.image("app"), options()).await.0.unwrap();
}
