//! Whom TLS trusts, and as whom it speaks.

use std::fmt::{self, Debug};
use std::sync::Arc;

use bytes::Bytes;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use treeferry_core::{Error, Result};

use crate::options::HttpVersions;

/// Where distributions keep the certificates of the authorities that they trust.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom TLS trusts, and as whom it speaks.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Which servers are trusted.
    pub trust: ServerTrust,
    /// As whom to speak to servers that ask.
    pub identity: Option<ClientIdentity>,
}

/// Which servers are trusted.
#[derive(Debug, Clone, Default)]
pub enum ServerTrust {
    /// Those that an authority of the system's certificate bundle vouches for.
    #[default]
    System,
    /// Those that one of these authorities vouches for: certificates in PEM.
    Authorities(Bytes),
    /// All. Objects are verified all the same, but anyone on the way can read along.
    Anyone,
}

/// The certificate and key of a client.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The certificate, and those between it and its authority, in PEM.
    pub certificate_pem: Bytes,
    /// Its private key, in PEM.
    pub key_pem: Bytes,
}

impl Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity")
    }
}

impl TlsOptions {
    /// Returns the configuration of TLS. **Blocking**: may read the system's certificate bundle.
    ///
    /// For other clients of the same servers.
    pub fn client_config(&self, versions: HttpVersions) -> Result<ClientConfig> {
        configure(self, versions)
    }
}

/// Returns the configuration of TLS. **Blocking**: may read the system's certificate bundle.
pub(crate) fn configure(options: &TlsOptions, versions: HttpVersions) -> Result<ClientConfig> {
    // The provider is named here: a process-wide default is the application's to choose.
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::unsupported("TLS cannot be set up").because(e))?;
    let builder = match &options.trust {
        ServerTrust::System => builder.with_root_certificates(system_roots()),
        ServerTrust::Authorities(pem) => builder.with_root_certificates(given_roots(pem)?),
        ServerTrust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnyone(provider))),
    };
    let mut config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (chain, key) = parse_identity(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(|e| {
                Error::invalid("the client certificate and its key cannot be used").because(e)
            })?
        }
    };
    let protocols: &[&[u8]] = match versions {
        HttpVersions::Negotiated => &[b"h2", b"http/1.1"],
        HttpVersions::Http1 => &[b"http/1.1"],
        HttpVersions::Http2 => &[b"h2"],
    };
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    Ok(config)
}

/// Returns the authorities of the first bundle that is there; a machine may have none.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for path in SYSTEM_BUNDLES {
        let Ok(pem) = std::fs::read(path) else {
            continue;
        };
        // Bundles hold odd old certificates: those that cannot be used are left out.
        let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(|c| c.ok());
        let (added, ignored) = roots.add_parsable_certificates(certificates);
        tracing::debug!(path, added, ignored, "read the system's certificates");
        if added > 0 {
            break;
        }
    }
    roots
}

fn given_roots(pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in parse_certificates(pem, "the CA certificates")? {
        roots.add(certificate).map_err(|e| {
            Error::invalid("a CA certificate that was given cannot be used").because(e)
        })?;
    }
    Ok(roots)
}

fn parse_identity(
    identity: &ClientIdentity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = parse_certificates(&identity.certificate_pem, "the client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key_pem)
        .map_err(|e| Error::invalid("the client key is not a private key in PEM").because(e))?;
    Ok((chain, key))
}

fn parse_certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::invalid(format!("{what}: not PEM")).because(e))?;
    if certificates.is_empty() {
        let problem = format!("{what}: expected PEM, found no certificate in it");
        return Err(Error::invalid(problem));
    }
    Ok(certificates)
}

/// Takes any certificate. Signatures are checked still, so the key belongs to the certificate.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
