//! What this member shows and whom it believes.

use super::files::Files;
use super::verify::{Connecting, Dialled, Rules, SelfMade};
use super::words::{Reason, describe};
use super::{files, generated};
use crate::config::{Config, TlsVersion, TransportSecurity, Url, is_unset};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, ServerConfig, ServerConnection,
    SupportedCipherSuite, SupportedProtocolVersion, WantsVerifier,
};
use std::path::Path;
use std::sync::Arc;

/// See the module. Made once at the start; its files are looked at before each handshake.
#[derive(Debug)]
pub struct Credentials {
    security: TransportSecurity,
    /// Whether the certificate is of this member's own making, and so are those of the others.
    is_self_made: bool,
    versions: Vec<&'static SupportedProtocolVersion>,
    provider: Arc<CryptoProvider>,
    files: Files,
}

/// The beginning of a connection that was taken.
pub(crate) struct ServerSession {
    pub(crate) connection: ServerConnection,
    /// What the verifier says about the certificate of the other side.
    pub(crate) reason: Reason,
}

/// The beginning of a connection that was dialled.
pub(crate) struct ClientSession {
    pub(crate) connection: ClientConnection,
    /// What the verifier says about the certificate of the other side.
    pub(crate) reason: Reason,
}

impl Credentials {
    /// Those that the flags name for the peer port, checked. With `--peer-auto-tls` a certificate is made. Blocks.
    ///
    /// # Errors
    /// What is wrong with them, for the operator; the texts are etcd's where it has one.
    pub fn for_peers(config: &Config) -> Result<Arc<Self>, String> {
        let mut security = config.peer_transport_security.clone();
        let mut is_self_made = false;
        if security.auto_tls && !security.is_empty() {
            crate::warn!("ignoring peer auto TLS since certs given");
        } else if security.auto_tls {
            let folder = config.data_directory().join("fixtures").join("peer");
            let hosts = hosts(&config.listen_peer_urls);
            let years = config.self_signed_cert_validity;
            let (certificate, key) = generated::certificate_in(&folder, hosts, years)
                .map_err(|error| format!("failed to get peer self-signed certs: {error}"))?;
            // As with etcd, nothing else counts: no authority vouches for what members have made themselves.
            let self_made = TransportSecurity {
                cert_file: certificate.clone(),
                key_file: key.clone(),
                client_cert_file: certificate,
                client_key_file: key,
                auto_tls: true,
                ..TransportSecurity::default()
            };
            if security.judges_others() {
                crate::warn!(
                    "ignoring the flags on the certificates of other peers, because peer auto TLS takes any",
                    "tls-info" => security.to_string(),
                );
            }
            security = self_made;
            is_self_made = true;
        }
        let (oldest, newest) = config.tls_versions()?;
        let all = [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)];
        let versions = all.into_iter();
        let versions = versions.filter(|(version, _)| (oldest..=newest).contains(version));
        let mut provider = ring::default_provider();
        provider.cipher_suites = suites(&config.cipher_suites, &provider.cipher_suites)?;
        let credentials = Credentials {
            security,
            is_self_made,
            versions: versions.map(|(_, version)| version).collect(),
            provider: Arc::new(provider),
            files: Files::default(),
        };
        credentials.check(config)?;
        Ok(Arc::new(credentials))
    }

    /// Finds at the start what would fail at each handshake.
    fn check(&self, config: &Config) -> Result<(), String> {
        let security = &self.security;
        let secure = config.listen_peer_urls.iter().find(|url| url.is_secure());
        if security.is_empty() {
            if let Some(url) = secure {
                return Err(format!(
                    "cannot listen on TLS for {url}: KeyFile and CertFile are not presented; give --peer-cert-file and \
                     --peer-key-file, or --peer-auto-tls"
                ));
            }
            return Ok(());
        }
        crate::info!(
            "starting with peer TLS",
            "tls-info" => security.to_string(),
            "cipher-suites" => config.cipher_suites.join(","),
        );
        for url in config
            .listen_peer_urls
            .iter()
            .filter(|url| !url.is_secure())
        {
            crate::warn!(
                "scheme is HTTP while key and cert files are present; ignoring key and cert files",
                "peer-url" => url.to_string(),
            );
            if security.client_cert_auth {
                crate::warn!(
                    "scheme is HTTP while --peer-client-cert-auth is enabled; ignoring client cert auth for this URL",
                    "peer-url" => url.to_string(),
                );
            }
        }
        if is_unset(&security.cert_file) || is_unset(&security.key_file) {
            return Err(format!(
                "KeyFile and CertFile must both be present[key: {}, cert: {}]",
                security.key_file.display(),
                security.cert_file.display()
            ));
        }
        if is_unset(&security.client_cert_file) != is_unset(&security.client_key_file) {
            return Err(format!(
                "ClientKeyFile and ClientCertFile must both be present or both absent: key: {}, cert: {}]",
                security.client_key_file.display(),
                security.client_cert_file.display()
            ));
        }
        if !security.allowed_names.is_empty() && !security.allowed_hostnames.is_empty() {
            return Err(format!(
                "AllowedCNs and AllowedHostnames are mutually exclusive (cns={:?}, hostnames={:?})",
                security.allowed_names, security.allowed_hostnames
            ));
        }
        self.server_config(Reason::default())?;
        self.client_config(Reason::default())?;
        Ok(())
    }

    /// Whether the address of those who connect is compared with their certificate.
    pub(crate) fn checks_origin(&self) -> bool {
        !self.security.skip_client_address_check
    }

    /// A session for a connection that was taken. Blocks: the files are looked at.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub(crate) fn server_session(&self) -> Result<ServerSession, String> {
        let reason = Reason::default();
        let config = Arc::new(self.server_config(reason.clone())?);
        let connection = ServerConnection::new(config);
        let connection = connection.map_err(|error| describe(&error, &reason))?;
        Ok(ServerSession { connection, reason })
    }

    /// A session for a connection that is dialled. Blocks: the files are looked at.
    ///
    /// # Errors
    /// What is wrong with the files, or with the URL.
    pub(crate) fn client_session(&self, url: &Url) -> Result<ClientSession, String> {
        let reason = Reason::default();
        let config = Arc::new(self.client_config(reason.clone())?);
        let host = match url.is_unix() {
            true => "localhost".to_owned(),
            false => url.host.clone(),
        };
        let name = ServerName::try_from(host)
            .map_err(|_| format!("{url}: no certificate can be valid for this host"))?;
        let connection = ClientConnection::new(config, name);
        let connection = connection.map_err(|error| describe(&error, &reason))?;
        Ok(ClientSession { connection, reason })
    }

    fn rules(&self, reason: Reason) -> Result<Rules, String> {
        let named = &self.security.trusted_ca_file;
        Ok(Rules {
            names: self.security.allowed_names.clone(),
            hostnames: self.security.allowed_hostnames.clone(),
            authorities: match is_unset(named) {
                true => Arc::default(),
                false => self.files.chains.get(&[named], || files::chain(named))?,
            },
            revoked: Arc::default(),
            reason,
        })
    }

    fn authorities(&self) -> Result<Arc<RootCertStore>, String> {
        let path = &self.security.trusted_ca_file;
        let store = match is_unset(path) {
            true => self.system_authorities()?,
            false => {
                let known = &self.files.authorities;
                known.get(&[path], || files::authorities(path))?
            }
        };
        if store.is_empty() {
            return Err(
                "no certificate authority is known: name one with --peer-trusted-ca-file"
                    .to_owned(),
            );
        }
        Ok(store)
    }

    fn system_authorities(&self) -> Result<Arc<RootCertStore>, String> {
        let Some(path) = files::of_system() else {
            return Ok(Arc::new(RootCertStore::empty()));
        };
        let known = &self.files.system;
        known.get(&[&path], || files::system_authorities(&path))
    }

    /// A certificate with its key, for either side.
    fn pair(&self, certificate: &Path, key: &Path) -> Result<Arc<SingleCertAndKey>, String> {
        let known = &self.files.pairs;
        let pair = known.get(&[certificate, key], || {
            let (chain, secret) = (files::chain(certificate)?, files::key(key)?);
            CertifiedKey::from_der(chain, secret, &self.provider)
                .map_err(|error| pair_error(certificate, key, &error))
        });
        Ok(Arc::new(SingleCertAndKey::from(pair?)))
    }

    fn server_config(&self, reason: Reason) -> Result<ServerConfig, String> {
        let security = &self.security;
        let provider = Arc::clone(&self.provider);
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&self.versions);
        let builder = builder.map_err(|error| error.to_string())?;
        let builder = if security.asks_for_certificates() {
            let chain = WebPkiClientVerifier::builder_with_provider(
                self.authorities()?,
                Arc::clone(&self.provider),
            );
            let mut rules = self.rules(reason)?;
            if !is_unset(&security.revocation_list_file) {
                let list = &security.revocation_list_file;
                rules.revoked = self.files.revoked.get(&[list], || files::revoked(list))?;
            }
            let verifier = Connecting {
                chain: chain.build().map_err(|error| error.to_string())?,
                rules,
            };
            builder.with_client_cert_verifier(Arc::new(verifier))
        } else {
            builder.with_no_client_auth()
        };
        let pair = self.pair(&security.cert_file, &security.key_file)?;
        let mut config = builder.with_cert_resolver(pair);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn client_config(&self, reason: Reason) -> Result<ClientConfig, String> {
        let provider = Arc::clone(&self.provider);
        let builder = ClientConfig::builder_with_provider(provider);
        let builder: ConfigBuilder<ClientConfig, WantsVerifier> = builder
            .with_protocol_versions(&self.versions)
            .map_err(|error| error.to_string())?;
        let builder = builder.dangerous();
        let builder = if self.is_self_made {
            let verifier = SelfMade(Arc::clone(&self.provider));
            builder.with_custom_certificate_verifier(Arc::new(verifier))
        } else {
            let chain = WebPkiServerVerifier::builder_with_provider(
                self.authorities()?,
                Arc::clone(&self.provider),
            );
            let verifier = Dialled {
                chain: chain.build().map_err(|error| error.to_string())?,
                rules: self.rules(reason)?,
            };
            builder.with_custom_certificate_verifier(Arc::new(verifier))
        };
        let security = &self.security;
        let (certificate, key) = match is_unset(&security.client_cert_file) {
            true => (&security.cert_file, &security.key_file),
            false => (&security.client_cert_file, &security.client_key_file),
        };
        let mut config = if is_unset(certificate) {
            builder.with_no_client_auth()
        } else {
            builder.with_client_cert_resolver(self.pair(certificate, key)?)
        };
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

fn pair_error(certificate: &Path, key: &Path, error: &rustls::Error) -> String {
    format!(
        "the certificate in {} and the key in {} cannot be used: {error}",
        certificate.display(),
        key.display()
    )
}

/// The hosts of URLs, for a certificate.
fn hosts(urls: &[Url]) -> Vec<String> {
    let hosts = urls.iter().filter(|url| !url.is_unix());
    let mut hosts: Vec<String> = hosts.map(|url| url.host.clone()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// The suites with these names, by which Go calls them; all if there are none. Those of TLS 1.3 cannot be chosen among.
fn suites(
    names: &[String],
    all: &[SupportedCipherSuite],
) -> Result<Vec<SupportedCipherSuite>, String> {
    if names.is_empty() {
        return Ok(all.to_vec());
    }
    // Go leaves out how TLS 1.2 makes its digest where ChaCha20 is meant, and had a shorter name once.
    let name = |suite: &SupportedCipherSuite| {
        let name = format!("{:?}", suite.suite());
        name.replace("TLS13_", "TLS_")
    };
    let is = |suite: &SupportedCipherSuite, given: &str| {
        let name = name(suite);
        name == given || name.strip_suffix("_SHA256") == Some(given)
    };
    if let Some(unknown) = names
        .iter()
        .find(|given| !all.iter().any(|suite| is(suite, given)))
    {
        let known: Vec<String> = all.iter().map(name).collect();
        return Err(format!(
            "unexpected TLS cipher suite {unknown:?}; reeve knows {}",
            known.join(", ")
        ));
    }
    let chosen = all.iter().filter(|suite| {
        suite.version().version == rustls::ProtocolVersion::TLSv1_3
            || names.iter().any(|given| is(suite, given))
    });
    Ok(chosen.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_gos_names() {
        let all = ring::default_provider().cipher_suites;
        let some = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            suites(&names, &all)
        };
        assert_eq!(some(&[]).unwrap().len(), all.len());
        let tls13 = all.iter().filter(|suite| suite.version() == &TLS13);
        let tls13 = tls13.count();
        let one = some(&["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"]).unwrap();
        assert_eq!(one.len(), 1 + tls13);
        let short = some(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]).unwrap();
        assert_eq!(short.len(), 1 + tls13);
        assert!(some(&["TLS_AES_128_GCM_SHA256"]).is_ok());
        let old = some(&["TLS_RSA_WITH_AES_128_CBC_SHA"]).unwrap_err();
        assert!(old.starts_with("unexpected TLS cipher suite"), "{old}");
    }
}
