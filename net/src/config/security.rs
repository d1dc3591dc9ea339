//! What the flags say about TLS.

use super::defaults::Config;
use std::fmt;
use std::path::{Path, PathBuf};

/// Certificates, keys and rules of one kind of connection. Empty paths stand for flags that were not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportSecurity {
    /// The certificate that this member shows, with its chain.
    pub cert_file: PathBuf,
    /// The key of that certificate.
    pub key_file: PathBuf,
    /// The certificate that it shows when it dials, if another.
    pub client_cert_file: PathBuf,
    /// The key of that certificate.
    pub client_key_file: PathBuf,
    /// Whether those who connect have to show a certificate.
    pub client_cert_auth: bool,
    /// The authorities that are believed; empty for those of the system.
    pub trusted_ca_file: PathBuf,
    /// Whether this member makes a certificate for itself.
    pub auto_tls: bool,
    /// Common names of which a certificate must have one; empty for any.
    pub allowed_names: Vec<String>,
    /// Host names of which a certificate must be valid for one; empty for any.
    pub allowed_hostnames: Vec<String>,
    /// Whether the address of those who connect is not compared with their certificate.
    pub skip_client_address_check: bool,
    /// Certificates that were revoked.
    pub revocation_list_file: PathBuf,
}

impl TransportSecurity {
    /// Whether this member has no certificate to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        is_unset(&self.cert_file) && is_unset(&self.key_file)
    }

    /// Whether those who connect have to show a certificate: naming authorities is enough, as with etcd.
    #[must_use]
    pub fn asks_for_certificates(&self) -> bool {
        self.client_cert_auth || !is_unset(&self.trusted_ca_file)
    }

    /// Whether anything is asked of the certificates of others.
    #[must_use]
    pub fn judges_others(&self) -> bool {
        self.asks_for_certificates()
            || !self.allowed_names.is_empty()
            || !self.allowed_hostnames.is_empty()
            || !is_unset(&self.revocation_list_file)
    }
}

/// As etcd writes it into its log.
impl fmt::Display for TransportSecurity {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "cert = {}, key = {}, client-cert={}, client-key={}, trusted-ca = {}, client-cert-auth = {}, crl-file = {}",
            self.cert_file.display(),
            self.key_file.display(),
            self.client_cert_file.display(),
            self.client_key_file.display(),
            self.trusted_ca_file.display(),
            self.client_cert_auth,
            self.revocation_list_file.display(),
        )
    }
}

/// Whether the flag of a path was left out.
pub(crate) fn is_unset(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// A version of TLS. Older ones are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsVersion {
    fn parse(text: &str, unset: TlsVersion) -> Result<TlsVersion, String> {
        match text {
            "" => Ok(unset),
            "TLS1.2" => Ok(TlsVersion::Tls12),
            "TLS1.3" => Ok(TlsVersion::Tls13),
            _ => Err(format!(
                "unexpected TLS version {text:?} (must be one of: TLS1.2, TLS1.3)"
            )),
        }
    }
}

impl Config {
    /// The oldest and the newest version of TLS. The errors are etcd's texts.
    pub fn tls_versions(&self) -> Result<(TlsVersion, TlsVersion), String> {
        let oldest = TlsVersion::parse(&self.tls_min_version, TlsVersion::Tls12)?;
        let newest = TlsVersion::parse(&self.tls_max_version, TlsVersion::Tls13)?;
        if oldest > newest {
            return Err(format!(
                "min version ({}) is greater than max version ({})",
                self.tls_min_version, self.tls_max_version
            ));
        }
        if oldest == TlsVersion::Tls13 && !self.cipher_suites.is_empty() {
            return Err(
                "cipher suites cannot be configured when only TLS1.3 is enabled".to_owned(),
            );
        }
        Ok((oldest, newest))
    }
}
