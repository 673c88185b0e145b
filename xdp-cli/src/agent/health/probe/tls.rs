//! TLS over a connection.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fault::{Fault, said};
use crate::ruleset::services::check::Tls;

/// How connections are encrypted; whom this host trusts is read when that is asked for first.
#[derive(Default)]
pub struct Roots {
    unverified: OnceLock<Arc<ClientConfig>>,
    verified: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Roots {
    fn config(&self, tls: Tls) -> Result<Arc<ClientConfig>, Fault> {
        match tls.verify {
            false => Ok(Arc::clone(self.unverified.get_or_init(|| {
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let any = Arc::new(AnyCertificate(Arc::clone(&provider)));
                let builder = ClientConfig::builder_with_provider(provider);
                // A provider that supports none of its own protocol versions would be a mistake in
                // it.
                let builder = builder.with_safe_default_protocol_versions().expect("versions");
                let builder = builder.dangerous().with_custom_certificate_verifier(any);
                Arc::new(builder.with_no_client_auth())
            }))),
            true => self.verified.get_or_init(of_this_host).clone().map_err(Fault::Unknown),
        }
    }
}

/// With the certificates that this host trusts.
fn of_this_host() -> Result<Arc<ClientConfig>, String> {
    let read = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(read.certs);
    if added == 0 {
        let why = read.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!(
            "this host has no certificates that it trusts (Debian's are in the package \
             ca-certificates){why}"
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|it| it.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Encrypts a connection. `name` is whom the certificate must be for, and is asked for in the
/// handshake where it is a name and not an address.
pub(super) async fn encrypt(
    stream: TcpStream,
    name: Option<&str>,
    address: IpAddr,
    tls: Tls,
    roots: &Roots,
) -> Result<TlsStream<TcpStream>, Fault> {
    let config = roots.config(tls)?;
    let named = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
    let name = named.unwrap_or_else(|| ServerName::IpAddress(address.into()));
    let encrypted = TlsConnector::from(config).connect(name, stream).await;
    encrypted.map_err(|error| Fault::failed(format!("TLS: {}", said(&error))))
}

/// Takes any certificate: a check asks whether a backend answers. Its certificate is for the
/// service's name, or no longer valid, and clients of the service look at that themselves.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
