//! Metrics of a server, scraped from the client port.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::result::MetricChange;
use super::target::{Endpoint, Target};

/// Metric values by name; those with labels are summed over them.
pub type Metrics = BTreeMap<String, f64>;

/// Largest answer read.
const LARGEST: u64 = 8 << 20;

/// Reads the metrics of `endpoint`; `None` if it serves none there.
#[must_use]
pub fn scrape(target: &Target, endpoint: &Endpoint) -> Option<Metrics> {
    let text = fetch(target, endpoint).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| parse(body))
}

/// HTTP/1.0, so that the answer ends with the connection and is not chunked.
fn fetch(target: &Target, endpoint: &Endpoint) -> io::Result<String> {
    let timeout = Duration::from_secs(2);
    let mut socket = TcpStream::connect_timeout(&endpoint.address, target.dial_timeout)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))?;
    let request = format!(
        "GET /metrics HTTP/1.0\r\nHost: {}\r\n\r\n",
        endpoint.authority
    );
    let mut text = String::new();
    match target.tls.as_ref().filter(|_| endpoint.secure) {
        None => {
            socket.write_all(request.as_bytes())?;
            socket.take(LARGEST).read_to_string(&mut text)?;
        }
        Some(config) => {
            let mut config = (**config).clone();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let name = rustls::pki_types::ServerName::try_from(endpoint.host.clone())
                .map_err(io::Error::other)?;
            let session =
                rustls::ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
            let mut stream = rustls::StreamOwned::new(session, socket);
            stream.write_all(request.as_bytes())?;
            stream.take(LARGEST).read_to_string(&mut text)?;
        }
    }
    Ok(text)
}

/// Reads the Prometheus text format: names starting with etcd_, reeve_ or process_, no buckets.
fn parse(body: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let name = name.split('{').next().unwrap_or(name);
        let wanted = ["etcd_", "reeve_", "process_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if let (true, false, Ok(value)) = (wanted, name.ends_with("_bucket"), value.parse::<f64>())
        {
            *metrics.entry(name.to_owned()).or_default() += value;
        }
    }
    metrics
}

/// The metrics that changed.
#[must_use]
pub fn changes(before: &Metrics, after: &Metrics) -> BTreeMap<String, MetricChange> {
    let mut changes = BTreeMap::new();
    for (name, &after) in after {
        let before = before.get(name).copied().unwrap_or(0.0);
        if before != after {
            changes.insert(name.clone(), MetricChange { before, after });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_text_is_read() {
        let text = "# HELP etcd_a b\netcd_a 5\netcd_b{x=\"1\"} 2\netcd_b{x=\"2 3\"} 1.5e1\n\
                    etcd_c_bucket{le=\"1\"} 9\ngo_x 1\nprocess_cpu_seconds_total 0.25\n";
        let metrics = parse(text);
        let want = [
            ("etcd_a", 5.0),
            ("etcd_b", 17.0),
            ("process_cpu_seconds_total", 0.25),
        ];
        assert_eq!(
            metrics,
            want.map(|(name, value)| (name.to_owned(), value)).into()
        );
        assert_eq!(changes(&metrics, &metrics).len(), 0);
    }
}
