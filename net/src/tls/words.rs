//! What went wrong, in the words of Go's TLS library, which operators of etcd know and its tools look for.

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a certificate was not taken, where the library's error would say too little. Set by a verifier, read after the
/// handshake; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reason(Arc<Mutex<Option<String>>>);

impl Reason {
    /// Sets it.
    pub(super) fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// An error of a session.
pub(crate) fn describe(error: &Error, reason: &Reason) -> String {
    match error {
        Error::InvalidCertificate(certificate) => {
            let known = reason.get();
            known.unwrap_or_else(|| describe_certificate(certificate))
        }
        Error::AlertReceived(alert) => describe_alert(*alert),
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "tls: first record does not look like a TLS handshake; the other side may not use TLS: compare the peer URLs"
                .to_owned()
        }
        other => format!("tls: {other}"),
    }
}

/// An error of a stream that may stem from a session.
pub(crate) fn describe_io(error: &io::Error, reason: &Reason) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(inner) => describe(inner, reason),
        None => error.to_string(),
    }
}

fn describe_certificate(error: &CertificateError) -> String {
    let said = match error {
        CertificateError::UnknownIssuer => {
            "x509: certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!("x509: certificate has expired or is not yet valid: {error}")
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            let names = match names.is_empty() {
                true => "no names".to_owned(),
                false => names.join(", "),
            };
            format!(
                "x509: certificate is valid for {names}, not {}",
                expected.to_str()
            )
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            format!("x509: certificate specifies an incompatible key usage: {error}")
        }
        other => format!("x509: {other}"),
    };
    format!("tls: failed to verify certificate: {said}")
}

/// The name within what the library writes as `DnsName("a")` or `IpAddress(::1)`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner);
    let inner = inner.strip_suffix(')').unwrap_or(inner);
    inner.trim_matches('"')
}

fn describe_alert(alert: AlertDescription) -> String {
    let refuses = "; it refuses this member's certificate, and its log says why";
    let (text, hint) = match alert {
        AlertDescription::BadCertificate => ("bad certificate", refuses),
        AlertDescription::UnsupportedCertificate => ("unsupported certificate", refuses),
        AlertDescription::CertificateRevoked => ("revoked certificate", refuses),
        AlertDescription::CertificateExpired => ("expired certificate", refuses),
        AlertDescription::CertificateUnknown => ("unknown certificate", refuses),
        AlertDescription::UnknownCA => ("unknown certificate authority", refuses),
        AlertDescription::AccessDenied => ("access denied", refuses),
        AlertDescription::CertificateRequired => (
            "certificate required",
            "; it takes only members with a certificate",
        ),
        AlertDescription::DecodeError => ("error decoding message", ""),
        AlertDescription::DecryptError => ("error decrypting message", ""),
        AlertDescription::HandshakeFailure => ("handshake failure", ""),
        AlertDescription::ProtocolVersion => ("protocol version not supported", ""),
        AlertDescription::InternalError => ("internal error", ""),
        AlertDescription::UnexpectedMessage => ("unexpected message", ""),
        other => return format!("remote error: tls: {other:?}"),
    };
    format!("remote error: tls: {text}{hint}")
}
