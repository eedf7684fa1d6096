//! AutoMTLS: both ends make a certificate per launch, exchange them over environment and handshake line, and then accept
//! exactly that one of each other.
//!
//! Peers are pinned by the bytes of their certificate, not by a chain: these certificates are self-signed and marked as
//! authorities, which web rules refuse. Go's library makes its keys on P-521, whose signatures ring cannot verify, so that curve
//! comes from another crate; our own keys are on P-256.

use std::sync::Arc;

use p521::ecdsa::signature::Verifier as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName,
    SignatureVerificationAlgorithm, UnixTime, alg_id,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name that Go's library puts into every certificate and expects there.
const NAME: &str = "localhost";
/// gRPC is HTTP/2, and Go's insists on being told so.
const ALPN: &[u8] = b"h2";

/// Why there is no mutual TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The parent's text.
    #[error("no certificate in PEM form in it")]
    NoCertificate,
    /// The parent's text.
    #[error("it cannot be read as PEM: {0}")]
    Pem(pem::Error),
    /// Our own certificate.
    #[error("cannot make a certificate: {0}")]
    Generate(#[from] rcgen::Error),
    /// Our own settings.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// The certificates in a PEM text, DER; at least one.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, TlsError> {
    let mut certificates = CertificateDer::pem_slice_iter(pem)
        .map(|certificate| certificate.map(|der| der.to_vec()).map_err(TlsError::Pem))
        .collect::<Result<Vec<_>, _>>()?;
    // An empty one would never be a client's: with no other, the plugin would wait for nobody.
    certificates.retain(|der| !der.is_empty());
    if certificates.is_empty() { Err(TlsError::NoCertificate) } else { Ok(certificates) }
}

/// A certificate for one launch, with its key.
pub(crate) struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Identity {
    /// A new one, with the properties of those that Go's library makes, valid whatever the clocks say.
    pub(crate) fn generate() -> Result<Identity, TlsError> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new([NAME.to_owned()])?;
        parameters.distinguished_name.push(DnType::CommonName, NAME);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyAgreement,
            KeyUsagePurpose::KeyCertSign,
        ];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = parameters.self_signed(&key)?;
        Ok(Identity { certificate, key })
    }

    /// For the handshake line.
    pub(crate) fn der(&self) -> &[u8] {
        self.certificate.der()
    }

    /// For the environment.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// The plugin's end, for clients that hold one of `clients`.
    pub(crate) fn acceptor(&self, clients: &[Vec<u8>]) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Pinned::new(&provider, clients));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![self.certificate.der().clone()], self.key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// The application's end, for the plugin that holds `server`.
    pub(crate) fn connector(&self, server: Vec<u8>) -> Result<TlsConnector, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Pinned::new(&provider, &[server]));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(vec![self.certificate.der().clone()], self.key())?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// What a client calls the server; nobody checks it, the certificate itself is pinned.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::try_from(NAME).unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()))
}

/// Accepts a peer that shows one of these certificates and proves that it holds the key.
#[derive(Debug)]
struct Pinned {
    accepted: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pinned {
    fn new(provider: &CryptoProvider, accepted: &[Vec<u8>]) -> Pinned {
        Pinned {
            accepted: accepted.iter().cloned().map(CertificateDer::from).collect(),
            algorithms: provider.signature_verification_algorithms,
        }
    }

    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if self.accepted.iter().any(|accepted| accepted == shown) {
            Ok(())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn algorithms(&self, scheme: SignatureScheme) -> &WebPkiSupportedAlgorithms {
        if scheme == SignatureScheme::ECDSA_NISTP521_SHA512 { &WITH_P521 } else { &self.algorithms }
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        schemes.extend(WITH_P521.supported_schemes());
        schemes
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, self.algorithms(signature.scheme))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, self.algorithms(signature.scheme))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, self.algorithms(signature.scheme))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, self.algorithms(signature.scheme))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

const WITH_P521: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[&EcdsaP521Sha512],
    mapping: &[(SignatureScheme::ECDSA_NISTP521_SHA512, &[&EcdsaP521Sha512])],
};

/// Verifies signatures of P-521 keys.
#[derive(Debug)]
struct EcdsaP521Sha512;

impl SignatureVerificationAlgorithm for EcdsaP521Sha512 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
        let signature = p521::ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P521
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA512
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// What the client reads, or the first failure.
    async fn exchanged(
        client: &Identity,
        server: &Identity,
        accepts: &Identity,
        expects: &Identity,
    ) -> std::io::Result<String> {
        let acceptor = server.acceptor(&[accepts.der().to_vec()]).unwrap();
        let connector = client.connector(expects.der().to_vec()).unwrap();
        let (near, far) = duplex(4096);
        let serving = tokio::spawn(async move {
            let mut stream = acceptor.accept(far).await?;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(ALPN));
            stream.write_all(b"hello").await?;
            stream.shutdown().await
        });
        let mut stream = connector.connect(server_name(), near).await?;
        let mut read = String::new();
        let answer = stream.read_to_string(&mut read).await;
        serving.await.unwrap()?;
        answer.map(|_| read)
    }

    #[tokio::test]
    async fn two_sides_that_know_each_others_certificate_speak() {
        let (client, server) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        assert_eq!(exchanged(&client, &server, &client, &server).await.unwrap(), "hello");
    }

    #[tokio::test]
    async fn a_stranger_is_refused_by_either_side() {
        let [client, server, other] = std::array::from_fn(|_| Identity::generate().unwrap());
        assert!(exchanged(&other, &server, &client, &server).await.is_err());
        assert!(exchanged(&client, &other, &client, &server).await.is_err());
    }

    #[test]
    fn certificates_are_read_back_from_the_environments_form() {
        let identity = Identity::generate().unwrap();
        assert_eq!(certificates(identity.pem().as_bytes()).unwrap(), [identity.der()]);
        assert!(matches!(certificates(b""), Err(TlsError::NoCertificate)));
    }

    /// Made with OpenSSL: a public key on P-521, and its signature of `message`.
    const KEY: &str = "04017c1196b6ab9629027cac09a9440d5cd467ab9d9e89a95da91e3ba13997aceadf7db7619980326e970a0a5c2407862cda06\
        961fce6597cd1ded3d41b371705e92160077c5d12a3ab8794510c31b916be14802dc4fd9be3a301cde6136ffdca57318c72f00c8b098e89e03a4\
        f8038172652bc4e1e9bea3cbe269aac252181b9487b07fdc";
    const SIGNATURE: &str = "308186024103db64ac22af5403665272e93618714d06fa946c62b1f966fbada252c6d756015e54648db1c01c3d8c565d\
        2ed350aa3e728c4917d389b1bfc95a18fb360f65defd0241334b084a6b624ce555bf5213a55aa0220ae09aae0d4881d9ac13001db64ca4c4a6f3\
        256ea306e2e760596b85a2f20dc18e9dbe7dfbf1872aab2296b379830af99f";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        hex.as_bytes().chunks(2).map(digits).collect()
    }

    #[test]
    fn signatures_on_the_curve_of_gos_keys_are_verified() {
        let (key, signature) = (bytes(KEY), bytes(SIGNATURE));
        let verify =
            |key: &[u8], message: &[u8], signature: &[u8]| EcdsaP521Sha512.verify_signature(key, message, signature);
        assert!(verify(&key, b"message", &signature).is_ok());
        assert!(verify(&key, b"massage", &signature).is_err());
        assert!(verify(&key, b"message", b"").is_err());
        assert!(verify(&[4; 133], b"message", &signature).is_err());
    }
}
