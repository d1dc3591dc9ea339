//! Whom the generator talks to: endpoints, TLS and credentials.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::error::{BenchError, BenchResult};
use super::insecure::AcceptAnyCertificate;
use super::login::Login;

/// One server.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Host and port as given.
    pub authority: String,
    /// Host alone, for TLS.
    pub host: String,
    /// Where to connect to.
    pub address: SocketAddr,
    /// Whether to speak TLS.
    pub secure: bool,
}

impl Endpoint {
    /// Reads `http://host:port`, `https://host:port` or `host:port` (secure if `tls`).
    ///
    /// # Errors
    /// [`BenchError::Options`] for anything else, [`BenchError::Unreachable`] for an unknown host.
    pub fn parse(text: &str, tls: bool) -> BenchResult<Self> {
        let (secure, rest) = match text.split_once("://") {
            None => (tls, text),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => {
                let message = format!("endpoint {text:?}: scheme {scheme:?} is not http or https");
                return Err(BenchError::Options(message));
            }
        };
        let authority = rest.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "2379"));
        let port: u16 = port.parse().map_err(|_| {
            BenchError::Options(format!("endpoint {text:?}: {port:?} is not a port"))
        })?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = (host, port)
            .to_socket_addrs()
            .ok()
            // Where a name has addresses of both kinds, servers of old listen on the first kind.
            .and_then(|found| found.min_by_key(SocketAddr::is_ipv6))
            .ok_or_else(|| BenchError::Unreachable(format!("endpoint {text:?}: unknown host")))?;
        let authority = if authority.ends_with(&format!(":{port}")) {
            authority.to_owned()
        } else {
            format!("{authority}:{port}")
        };
        Ok(Self {
            authority,
            host: host.to_owned(),
            address,
            secure,
        })
    }
}

/// TLS files and switches, named as in etcd's benchmark.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// CA bundle that signs the servers.
    pub cacert: Option<PathBuf>,
    /// Client certificate chain.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Accept any server certificate.
    pub skip_verify: bool,
}

/// Everything a connection needs.
#[derive(Clone)]
pub struct Target {
    /// The servers; connections are spread over them in turn.
    pub endpoints: Vec<Endpoint>,
    /// TLS settings, if any endpoint is secure.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The user's login, if there is one.
    pub login: Option<Arc<Login>>,
    /// How long a connection may take to come up.
    pub dial_timeout: Duration,
}

impl Target {
    /// Resolves `endpoints` and loads the TLS files.
    ///
    /// # Errors
    /// [`BenchError`] for endpoints or files that cannot be used.
    pub fn new(
        endpoints: &[String],
        files: &TlsFiles,
        dial_timeout: Duration,
    ) -> BenchResult<Self> {
        let tls = files.cacert.is_some() || files.cert.is_some() || files.skip_verify;
        let endpoints: Vec<Endpoint> = endpoints
            .iter()
            .map(|text| Endpoint::parse(text, tls))
            .collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(BenchError::Options("no endpoint was given".into()));
        }
        let secure = endpoints.iter().any(|endpoint| endpoint.secure);
        let tls = if secure {
            Some(Arc::new(client_config(files)?))
        } else {
            None
        };
        Ok(Self {
            endpoints,
            tls,
            login: None,
            dial_timeout,
        })
    }

    /// A TLS session with `endpoint`, or `None` if it is plain.
    ///
    /// # Errors
    /// [`BenchError::Options`] for a host that cannot be a certificate's name.
    pub fn tls_session(
        &self,
        endpoint: &Endpoint,
    ) -> BenchResult<Option<Box<rustls::ClientConnection>>> {
        let Some(config) = self.tls.as_ref().filter(|_| endpoint.secure) else {
            return Ok(None);
        };
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|_| BenchError::Options(format!("{:?} is not a host name", endpoint.host)))?;
        let mut session = rustls::ClientConnection::new(Arc::clone(config), name)
            .map_err(|error| BenchError::Options(format!("TLS: {error}")))?;
        session.set_buffer_limit(None);
        Ok(Some(Box::new(session)))
    }
}

fn client_config(files: &TlsFiles) -> BenchResult<rustls::ClientConfig> {
    let bad = |path: &Path, error: String| {
        BenchError::Options(format!("TLS file {}: {error}", path.display()))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| BenchError::Options(format!("TLS: {error}")))?;
    let builder = if files.skip_verify {
        let verifier = Arc::new(AcceptAnyCertificate::new(provider));
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    } else {
        let mut roots = rustls::RootCertStore::empty();
        match &files.cacert {
            Some(path) => {
                for certificate in read_certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|error| bad(path, error.to_string()))?;
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        builder.with_root_certificates(roots)
    };
    let mut config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let key_der =
                PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error.to_string()))?;
            builder
                .with_client_auth_cert(read_certificates(cert)?, key_der)
                .map_err(|error| bad(cert, error.to_string()))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(BenchError::Options("--cert and --key go together".into())),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn read_certificates(path: &Path) -> BenchResult<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| BenchError::Options(format!("TLS file {}: {error}", path.display())))?;
    if certificates.is_empty() {
        let message = format!("TLS file {}: no certificate in it", path.display());
        return Err(BenchError::Options(message));
    }
    Ok(certificates)
}
