//! Reading certificates, keys and lists from files.

use super::remembered::Remembered;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::fs;
use std::path::{Path, PathBuf};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

/// Larger files hold no certificates.
const MAX_BYTES: u64 = 16 << 20;

/// Where systems keep the authorities that they believe.
static SYSTEM_AUTHORITIES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What stood in the files when they were last read. All paths are those of flags, so there are few.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Certificates by their file.
    pub(super) chains: Remembered<Vec<CertificateDer<'static>>>,
    /// Authorities by their file.
    pub(super) authorities: Remembered<RootCertStore>,
    /// Those of the system.
    pub(super) system: Remembered<RootCertStore>,
    /// Serial numbers that are taken no more, by their file.
    pub(super) revoked: Remembered<Vec<Vec<u8>>>,
    /// Certificates with their keys, by the files of both.
    pub(super) pairs: Remembered<CertifiedKey>,
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("open {}: {error}", path.display());
    let bytes = fs::metadata(path).map_err(failed)?.len();
    if bytes > MAX_BYTES {
        return Err(format!(
            "{}: {bytes} bytes are too many for a file of certificates",
            path.display()
        ));
    }
    fs::read(path).map_err(failed)
}

/// A certificate and those that lead from it to its authority.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates =
        certificates.map_err(|error| format!("{}: not PEM: {error}", path.display()))?;
    if certificates.is_empty() {
        return Err(format!("{}: holds no certificate in PEM", path.display()));
    }
    Ok(certificates)
}

/// A private key.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read(path)?;
    // The error of the parser could quote from the file.
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| format!("{}: holds no private key in PEM", path.display()))
}

/// The authorities in a file.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in chain(path)? {
        store
            .add(certificate)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(store)
}

/// The file of the authorities that the system believes; none if it keeps them elsewhere.
pub(super) fn of_system() -> Option<PathBuf> {
    let given = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM_AUTHORITIES.iter().map(PathBuf::from);
    given.into_iter().chain(known).find(|path| path.is_file())
}

/// The authorities in a file of the system, which may hold others that are not understood.
///
/// # Errors
/// Why none could be read. It may pass, so nobody may take that for a file without authorities.
pub(super) fn system_authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(chain(path)?);
    Ok(store)
}

/// The serial numbers of revoked certificates: big-endian, without leading zeros.
pub(super) fn revoked(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let bytes = read(path)?;
    let from_pem = CertificateRevocationListDer::from_pem_slice(&bytes);
    let der = from_pem
        .as_ref()
        .map_or(bytes.as_slice(), |list| list.as_ref());
    let (_, list) = CertificateRevocationList::from_der(der).map_err(|error| {
        format!(
            "{}: holds no list of revoked certificates in PEM or DER: {error}",
            path.display()
        )
    })?;
    let revoked = list.iter_revoked_certificates();
    Ok(revoked.map(|it| significant(it.raw_serial())).collect())
}

/// A number without its leading zeros.
pub(super) fn significant(serial: &[u8]) -> Vec<u8> {
    let start = serial.iter().position(|byte| *byte != 0);
    serial
        .get(start.unwrap_or(serial.len())..)
        .unwrap_or_default()
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_of_the_system_that_cannot_be_read_are_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("authorities.pem");
        let missing = system_authorities(&path).unwrap_err();
        assert!(missing.contains("authorities.pem"), "{missing}");
        let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
        fs::write(&path, made.cert.pem()).unwrap();
        assert_eq!(system_authorities(&path).unwrap().len(), 1);
    }
}
