//! Judging the certificates of others.

use super::files::significant;
use super::words::Reason;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::sync::Arc;
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

/// What is asked of a certificate besides that an authority vouches for it.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Common names, one of which it must have; empty for any.
    pub(super) names: Vec<String>,
    /// Host names, for one of which it must be valid; empty for any.
    pub(super) hostnames: Vec<String>,
    /// The certificates of the authorities that are believed, where they are named.
    pub(super) authorities: Arc<Vec<CertificateDer<'static>>>,
    /// Serial numbers that are taken no more.
    pub(super) revoked: Arc<Vec<Vec<u8>>>,
    /// Where it is said what is wrong.
    pub(super) reason: Reason,
}

impl Rules {
    fn check(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let refused = |error, text| {
            self.reason.set(text);
            Err(Error::InvalidCertificate(error))
        };
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            let text = "x509: malformed certificate".to_owned();
            return refused(CertificateError::BadEncoding, text);
        };
        if !self.revoked.is_empty() {
            for shown in std::iter::once(certificate).chain(intermediates) {
                if let Some(serial) = self.revoked_serial(shown) {
                    let text = format!("transport: certificate serial {serial} revoked");
                    return refused(CertificateError::Revoked, text);
                }
            }
        }
        if !self.names.is_empty() {
            // Of several the last one counts, as with Go.
            let names = parsed.subject().iter_common_name();
            let name = names.filter_map(|name| name.as_str().ok()).last();
            let name = name.unwrap_or_default();
            if !self.names.iter().any(|allowed| allowed == name) {
                let text = format!(
                    "client certificate authentication failed: the common name {name:?} is not among those of \
                     --peer-cert-allowed-cn ({})",
                    self.names.join(",")
                );
                return refused(CertificateError::NotValidForName, text);
            }
        }
        if !self.hostnames.is_empty() && !is_valid_for_any(certificate, &self.hostnames) {
            let text = format!(
                "client certificate authentication failed: the certificate is valid for none of --peer-cert-allowed-hostname \
                 ({})",
                self.hostnames.join(",")
            );
            return refused(CertificateError::NotValidForName, text);
        }
        Ok(())
    }

    /// Judges a certificate that is itself one of the authorities that are believed: who has only one makes it both. The
    /// library takes none for a member's that may vouch for others; as with Go it is good while it is in date. `None` for all
    /// others.
    fn believed_itself(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        let is_this = |known: &CertificateDer<'_>| known.as_ref() == certificate.as_ref();
        if !self.authorities.iter().any(is_this) {
            return None;
        }
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        if !parsed.is_ca() {
            return None;
        }
        let now = i64::try_from(now.as_secs()).ok()?;
        let now = ASN1Time::from_timestamp(now).ok()?;
        Some(match parsed.validity().is_valid_at(now) {
            true => Ok(()),
            false => Err(Error::InvalidCertificate(CertificateError::Expired)),
        })
    }

    /// The serial number of a certificate in hexadecimal digits, if it was revoked. As with etcd, the number alone decides.
    fn revoked_serial(&self, certificate: &CertificateDer<'_>) -> Option<String> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let serial = significant(parsed.raw_serial());
        let digits = || serial.iter().map(|byte| format!("{byte:02x}")).collect();
        self.revoked.contains(&serial).then(digits)
    }
}

fn is_valid_for_any(certificate: &CertificateDer<'_>, hosts: &[String]) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    let names = hosts
        .iter()
        .filter_map(|host| ServerName::try_from(host.as_str()).ok());
    names
        .into_iter()
        .any(|name| verify_server_name(&parsed, &name).is_ok())
}

/// Judges those who connect.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) chain: Arc<dyn ClientCertVerifier>,
    pub(super) rules: Rules,
}

impl ClientCertVerifier for Connecting {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = match self.rules.believed_itself(end_entity, now) {
            Some(judged) => judged.map(|()| ClientCertVerified::assertion())?,
            None => self
                .chain
                .verify_client_cert(end_entity, intermediates, now)?,
        };
        self.rules.check(end_entity, intermediates)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Judges those who are dialled.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) chain: Arc<WebPkiServerVerifier>,
    pub(super) rules: Rules,
}

impl ServerCertVerifier for Dialled {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = match self.rules.believed_itself(end_entity, now) {
            Some(judged) => {
                judged?;
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                ServerCertVerified::assertion()
            }
            None => self.chain.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            )?,
        };
        self.rules.check(end_entity, intermediates)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Takes whatever certificate a member has made for itself. Who shows it must hold its key, but may be anybody: this keeps
/// out those who listen, not those who stand between.
#[derive(Debug)]
pub(crate) struct SelfMade(pub(crate) Arc<CryptoProvider>);

impl ServerCertVerifier for SelfMade {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
