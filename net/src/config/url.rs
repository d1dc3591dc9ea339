//! URLs of members.

use std::{fmt, net::IpAddr, path::PathBuf};

/// How a URL is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// TCP.
    Http,
    /// TLS over TCP.
    Https,
    /// A Unix socket.
    Unix,
    /// TLS over a Unix socket.
    Unixs,
}

/// A URL of a listener or of a member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    /// The text, as it was given and as members compare it.
    text: String,
    /// How it is reached.
    pub scheme: Scheme,
    /// Host name or address, without the brackets of IPv6; empty for Unix sockets.
    pub host: String,
    /// The port; 0 for Unix sockets. `None` for a number that is too large: nobody can listen there, and only who tries to
    /// is refused.
    pub port: Option<u16>,
    /// The path of a Unix socket.
    pub path: PathBuf,
}

impl fmt::Display for Url {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(&self.text)
    }
}

impl Url {
    /// Parses one URL; the errors are etcd's texts.
    pub fn parse(text: &str) -> Result<Url, String> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(wrong_scheme(text));
        };
        let scheme = match scheme {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(wrong_scheme(text)),
        };
        if matches!(scheme, Scheme::Unix | Scheme::Unixs) {
            return Url::unix(text, scheme, rest);
        }
        let authority = rest.strip_prefix("//").unwrap_or("");
        let end = authority.find(['/', '?', '#']).unwrap_or(authority.len());
        let (authority, path) = authority.split_at(end);
        let no_port = || format!("URL address does not have the form \"host:port\": {text}");
        let (host, port) = split_host_port(authority).ok_or_else(no_port)?;
        if !path.is_empty() {
            return Err(format!("URL must not contain a path: {text}"));
        }
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!(
                "parse {text:?}: invalid port {:?} after host",
                format!(":{port}")
            ));
        }
        let number = port.parse().ok();
        let (text, host, path) = (text.to_owned(), host.to_owned(), PathBuf::new());
        Ok(Url {
            text,
            scheme,
            host,
            port: number,
            path,
        })
    }

    fn unix(text: &str, scheme: Scheme, rest: &str) -> Result<Url, String> {
        // Both unix:///absolute and unix://relative name a path, as does unix:path.
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path.is_empty() {
            return Err(format!("URL must name a socket: {text}"));
        }
        let (text, path) = (text.to_owned(), PathBuf::from(path));
        Ok(Url {
            text,
            scheme,
            host: String::new(),
            port: Some(0),
            path,
        })
    }

    /// Parses a list with commas. Duplicates are dropped; the list is sorted, as etcd does.
    pub(super) fn parse_list(text: &str) -> Result<Vec<Url>, String> {
        let urls: Result<Vec<Url>, String> = text.split(',').map(Url::parse).collect();
        let mut urls = urls?;
        urls.sort();
        urls.dedup();
        Ok(urls)
    }

    /// Whether it leads through TLS.
    pub fn is_secure(&self) -> bool {
        matches!(self.scheme, Scheme::Https | Scheme::Unixs)
    }

    /// Whether it is a Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self.scheme, Scheme::Unix | Scheme::Unixs)
    }

    /// The address to bind, where the host is one; `localhost` is the IPv4 loopback.
    pub fn bind_address(&self) -> Option<IpAddr> {
        if self.host == "localhost" {
            return Some(IpAddr::from([127, 0, 0, 1]));
        }
        self.host.parse().ok()
    }
}

fn wrong_scheme(text: &str) -> String {
    format!("URL scheme must be http, https, unix, or unixs: {text}")
}

/// Splits `host:port` or `[address]:port`.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return Some((host, after.strip_prefix(':')?));
    }
    let (host, port) = text.rsplit_once(':')?;
    (!host.contains(':')).then_some((host, port))
}
