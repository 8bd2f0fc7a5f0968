//! TLS: whom to trust, and who we are.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::hosts::HostConfig;
use crate::{Error, Result};

/// The certificates of a bundle in PEM form; what is no certificate in it is skipped, as OpenSSL does.
pub(crate) fn roots(bundle: &[u8]) -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(
        CertificateDer::pem_slice_iter(bundle).filter_map(std::result::Result::ok),
    );
    store
}

/// The configuration for a host; without one for any other.
pub(crate) fn config(roots: &RootCertStore, host: Option<&HostConfig>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider.clone());
    let builder = versions
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls(error.into()))?;
    let mut roots = roots.clone();
    for path in host.into_iter().flat_map(|host| &host.authorities) {
        for certificate in pem(path, CertificateDer::pem_file_iter(path))? {
            roots.add(certificate).map_err(|error| at(path, error))?;
        }
    }
    let builder = if host.is_some_and(|host| host.skip_verify) {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Any(provider)))
    } else if roots.is_empty() {
        // Without any authority a verifier cannot be built; every certificate is then refused.
        builder.with_root_certificates(roots)
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        builder.with_webpki_verifier(verifier.build().map_err(|error| Error::Tls(error.into()))?)
    };
    match host.and_then(|host| host.client.first()) {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = pem(certificate, CertificateDer::pem_file_iter(certificate))?;
            let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| at(key, error))?;
            builder
                .with_client_auth_cert(chain, key_der)
                .map_err(|error| at(certificate, error))
        }
    }
}

fn pem<T, E: std::error::Error + Send + Sync + 'static>(
    path: &Path,
    items: std::result::Result<impl Iterator<Item = std::result::Result<T, E>>, E>,
) -> Result<Vec<T>> {
    items.and_then(Iterator::collect).map_err(|error| at(path, error))
}

fn at(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Hosts {
        path: path.to_owned(),
        source: error.into(),
    }
}

/// Takes any certificate: what `skip_verify` asks for. Signatures of the handshake are checked all the same.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
