//! Servers that are reached by TLS.

use crate::tls::SelfMade;
use rustls::crypto::ring;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// What a client shows, and what it believes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientTls {
    /// The certificate that it shows, and its key; empty for none.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Authorities that it believes; empty for those of the system.
    pub(crate) authorities: PathBuf,
    /// Believe any certificate.
    pub(crate) believes_all: bool,
    /// Endpoints without a scheme are reached by TLS too.
    pub(crate) is_default: bool,
}

impl ClientTls {
    /// Reads the files, and has the endpoint use them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn secure(&self, endpoint: Endpoint) -> Result<Endpoint, String> {
        let mut config = ClientTlsConfig::new();
        if !self.certificate.as_os_str().is_empty() {
            let (certificate, key) = (read(&self.certificate)?, read(&self.key)?);
            config = config.identity(Identity::from_pem(certificate, key));
        }
        let secured = if self.believes_all {
            let verifier = SelfMade(Arc::new(ring::default_provider()));
            endpoint.tls_config_with_verifier(config, Arc::new(verifier))
        } else if self.authorities.as_os_str().is_empty() {
            endpoint.tls_config(config.with_native_roots())
        } else {
            let authorities = Certificate::from_pem(read(&self.authorities)?);
            endpoint.tls_config(config.ca_certificate(authorities))
        };
        secured.map_err(|error| error.to_string())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("open {}: {error}", path.display()))
}
