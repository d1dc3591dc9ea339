//! Authorities and certificates for tests; also for those of the running server.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber,
};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// Somebody who vouches for certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    key_pem: String,
    /// Its own certificate.
    pub pem: String,
}

/// What a certificate says.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The common name.
    pub name: &'a str,
    /// Another common name that stands before it.
    pub earlier_name: Option<&'a str>,
    /// The addresses and host names that it is valid for.
    pub hosts: &'a [&'a str],
    /// Its number.
    pub serial: u64,
    /// Days until it is not valid any more, from now; negative for one that has expired.
    pub days: i64,
}

impl Subject<'_> {
    /// A member on the loopback address.
    pub const LOCAL: Subject<'static> = Subject {
        name: "member",
        earlier_name: None,
        hosts: &["127.0.0.1"],
        serial: 7,
        days: 30,
    };
}

/// The files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        parameters.distinguished_name = common_name(name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Authority {
            key_pem: key.serialize_pem(),
            issuer: Issuer::new(parameters, key),
            pem,
        }
    }

    /// Writes the authority's own certificate.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("ca.pem");
        std::fs::write(&path, &self.pem).unwrap();
        path
    }

    /// Its own certificate, with its key, for somebody who has no other. It is valid for the loopback address.
    pub fn itself(&self, folder: &Path) -> Files {
        let files = Files {
            certificate: self.write(folder),
            key: folder.join("ca.key"),
        };
        std::fs::write(&files.key, &self.key_pem).unwrap();
        files
    }

    /// Vouches for a new certificate, in files with this name.
    pub fn certify(&self, folder: &Path, file: &str, subject: Subject<'_>) -> Files {
        let hosts: Vec<String> = subject
            .hosts
            .iter()
            .map(|host| (*host).to_owned())
            .collect();
        let mut parameters = CertificateParams::new(hosts).unwrap();
        parameters.distinguished_name = common_name(subject.name);
        if let Some(earlier) = subject.earlier_name {
            let mut both = common_name(earlier);
            // Each type has one place; so the other takes its number.
            let number = DnType::CustomDnType(vec![2, 5, 4, 3]);
            both.push(number, subject.name);
            parameters.distinguished_name = both;
        }
        parameters.serial_number = Some(SerialNumber::from(subject.serial));
        let now = OffsetDateTime::now_utc();
        parameters.not_before = now - Duration::days(60);
        parameters.not_after = now + Duration::days(subject.days);
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let files = Files {
            certificate: folder.join(format!("{file}.pem")),
            key: folder.join(format!("{file}.key")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    /// Takes back its word for certificates by their numbers.
    pub fn revoke(&self, folder: &Path, serials: &[u64]) -> PathBuf {
        let now = OffsetDateTime::now_utc();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::days(1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        let path = folder.join("crl.pem");
        std::fs::write(&path, list.pem().unwrap()).unwrap();
        path
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
