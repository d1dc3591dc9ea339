//! The certificate that a member makes for itself (`--peer-auto-tls`).

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// Days of a year.
const DAYS: i64 = 365;

/// Certificates are not made for longer than this, in years.
const LONGEST: u64 = 1000;

/// The files of a certificate and its key in `folder`, for these hosts and so many years. Those of an earlier start are
/// used again.
///
/// # Errors
/// For the operator.
pub(super) fn certificate_in(
    folder: &Path,
    hosts: Vec<String>,
    years: u64,
) -> Result<(PathBuf, PathBuf), String> {
    if years == 0 {
        return Err("selfSignedCertValidity is invalid,it should be greater than 0".to_owned());
    }
    if years > LONGEST {
        return Err(format!(
            "--self-signed-cert-validity {years} is too large (at most {LONGEST} years)"
        ));
    }
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if certificate.is_file() && key.is_file() {
        return Ok((certificate, key));
    }
    let failed = |error: io::Error| format!("cannot write {}: {error}", folder.display());
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let now = OffsetDateTime::now_utc();
    let until = now + Duration::days(DAYS.saturating_mul(i64::try_from(years).unwrap_or(1)));
    let (certificate_text, key_text) = make(hosts, now, until)
        .map_err(|error| format!("cannot make a certificate for this member: {error}"))?;
    crate::warn!(
        "automatically generate certificates",
        "certificate-validity-bound-not-after" => until.to_string(),
    );
    // The key first: with a certificate alone, both are made again.
    write(&key, 0o600, &key_text).map_err(failed)?;
    crate::info!("created key file", "path" => key.clone());
    write(&certificate, 0o644, &certificate_text).map_err(failed)?;
    crate::info!("created cert file", "path" => certificate.clone());
    Ok((certificate, key))
}

fn make(
    hosts: Vec<String>,
    now: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<(String, String), rcgen::Error> {
    let mut parameters = CertificateParams::new(hosts)?;
    parameters.not_before = now;
    parameters.not_after = until;
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::OrganizationName, "reeve");
    parameters.distinguished_name = name;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Writes a file whole: under another name first, so that an interrupted start leaves no half of one.
fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("pem.tmp");
    // One that an earlier start has left may have other permissions.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(mode)
        .open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("fixtures").join("peer");
        let hosts = || vec!["127.0.0.1".to_owned(), "a.example".to_owned()];
        let (certificate, key) = certificate_in(&folder, hosts(), 1).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&key), mode(&folder)), (0o600, 0o700));
        let first = fs::read(&certificate).unwrap();
        certificate_in(&folder, hosts(), 1).unwrap();
        assert_eq!(fs::read(&certificate).unwrap(), first);
        assert!(super::super::files::chain(&certificate).is_ok());
        assert!(super::super::files::key(&key).is_ok());
        assert!(certificate_in(&folder, hosts(), 0).is_err());
        assert!(certificate_in(&folder, hosts(), u64::MAX).is_err());
    }
}
