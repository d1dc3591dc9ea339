//! Asking for SRV records (RFC 2782), as the system's resolver is configured (resolv.conf(5)). The system's own functions
//! know addresses only.

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const PORT: u16 = 53;
const CONFIGURATION: &str = "/etc/resolv.conf";

/// No answer by UDP is larger than this, whatever its sender thinks.
const MAX_DATAGRAM: usize = 64 << 10;

/// Names of the search list that are tried.
const MAX_SEARCHED: usize = 6;

/// One service at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// The host's name, without the dot at its end.
    pub(super) target: String,
    pub(super) port: u16,
    priority: u16,
    weight: u16,
}

/// Why there are no records.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    /// The name is none.
    #[error("lookup {name}: {why}")]
    Name {
        /// As it was asked for.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A server said, or did not say, something.
    #[error("lookup {name} on {server}: {why}")]
    Server {
        /// The name that was asked for.
        name: String,
        /// Who was asked.
        server: SocketAddr,
        /// What came of it, in Go's words where it has some.
        why: Failure,
    },
}

/// What can go wrong with one server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("no such host")]
    NoSuchHost,
    #[error("server misbehaving")]
    Misbehaving,
    #[error("i/o timeout")]
    Timeout,
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::Timeout,
            _ => Failure::Other(error.to_string()),
        }
    }
}

/// Whom to ask, and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolver {
    pub(super) servers: Vec<SocketAddr>,
    /// What may follow a name that is not whole.
    pub(super) search: Vec<String>,
    /// Dots from which on a name is first taken as whole.
    pub(super) dots: usize,
    /// For one attempt with one server.
    pub(super) timeout: Duration,
    pub(super) attempts: u32,
    /// Ask by TCP from the start.
    pub(super) by_tcp: bool,
}

impl Resolver {
    /// As the system is configured; without a configuration, the server of this machine.
    pub(super) fn of_system() -> Self {
        Self::configured(&std::fs::read(CONFIGURATION).unwrap_or_default())
    }

    /// As this text of a resolv.conf says. Lines that make no sense are passed over, as the system's resolver does.
    fn configured(text: &[u8]) -> Self {
        let (config, _) = resolv_conf::Config::parse_with_errors(text);
        let servers = config.get_nameservers_or_local();
        let servers = servers.into_iter().map(IpAddr::from);
        Resolver {
            servers: servers
                .map(|server| SocketAddr::new(server, PORT))
                .collect(),
            search: config
                .get_last_search_or_domain()
                .take(MAX_SEARCHED)
                .cloned()
                .collect(),
            dots: config.ndots as usize,
            timeout: Duration::from_secs(u64::from(config.timeout.clamp(1, 30))),
            attempts: config.attempts.clamp(1, 5),
            by_tcp: config.use_vc,
        }
    }

    /// The services of this name, as the records order them: by priority, then by weight.
    ///
    /// # Errors
    /// [`LookupError`], that of the first form of the name if all forms fail.
    pub(super) fn services(&self, name: &str) -> Result<Vec<Service>, LookupError> {
        let mut first = None;
        for name in self.forms(name) {
            match self.ask_all(&name) {
                Ok(mut services) => {
                    services.sort_by_key(|it| (it.priority, u16::MAX - it.weight));
                    return Ok(services);
                }
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| LookupError::Name {
            name: name.to_owned(),
            why: "no such host".to_owned(),
        }))
    }

    /// The name itself and the name with what is searched, in the order in which they are tried.
    fn forms(&self, name: &str) -> Vec<String> {
        let Some(whole) = name.strip_suffix('.') else {
            let mut forms: Vec<String> = self
                .search
                .iter()
                .map(|suffix| format!("{name}.{}", suffix.trim_end_matches('.')))
                .collect();
            let itself = match name.matches('.').count() >= self.dots {
                true => 0,
                false => forms.len(),
            };
            forms.insert(itself, name.to_owned());
            return forms;
        };
        vec![whole.to_owned()]
    }

    /// Asks one server after the other, and all of them again.
    fn ask_all(&self, name: &str) -> Result<Vec<Service>, LookupError> {
        let unusable = |why: simple_dns::SimpleDnsError| LookupError::Name {
            name: name.to_owned(),
            why: why.to_string(),
        };
        let asked = Name::new(name).map_err(unusable)?;
        let mut last = None;
        for _ in 0..self.attempts {
            for &server in &self.servers {
                let why = match self.ask(server, &asked) {
                    Ok(services) => return Ok(services),
                    Err(why) => why,
                };
                let is_final = why == Failure::NoSuchHost;
                let name = name.to_owned();
                last = Some(LookupError::Server { name, server, why });
                if is_final {
                    return Err(last.unwrap_or_else(|| unreachable!("set just before")));
                }
            }
        }
        Err(last.unwrap_or_else(|| LookupError::Name {
            name: name.to_owned(),
            why: "no name server is configured".to_owned(),
        }))
    }

    fn ask(&self, server: SocketAddr, name: &Name<'_>) -> Result<Vec<Service>, Failure> {
        let id = random_id();
        let other = |error: simple_dns::SimpleDnsError| Failure::Other(error.to_string());
        let mut query = Packet::new_query(id);
        query.set_flags(PacketFlag::RECURSION_DESIRED);
        let (kind, class) = (QTYPE::TYPE(TYPE::SRV), QCLASS::CLASS(CLASS::IN));
        let question = Question::new(name.clone(), kind, class, false);
        query.questions.push(question);
        let query = query.build_bytes_vec().map_err(other)?;
        if !self.by_tcp {
            let answer = self.exchange_by_udp(server, &query, id, name)?;
            if let Some(services) = read_answer(&answer)? {
                return Ok(services);
            }
        }
        let answer = self.exchange_by_tcp(server, &query)?;
        let is_answer = answers(&answer, id, name);
        let services = is_answer.then(|| read_answer(&answer)).transpose()?;
        services.flatten().ok_or(Failure::Misbehaving)
    }

    fn exchange_by_udp(
        &self,
        server: SocketAddr,
        query: &[u8],
        id: u16,
        name: &Name<'_>,
    ) -> Result<Vec<u8>, Failure> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        // From here on the kernel drops what comes from elsewhere.
        socket.connect(server)?;
        socket.send(query)?;
        let deadline = Instant::now() + self.timeout;
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            socket.set_read_timeout(Some(left(deadline)?))?;
            let length = socket.recv(&mut buffer)?;
            // What does not answer this question was sent by somebody else, or for an earlier one.
            if let Some(answer) = buffer.get(..length).filter(|it| answers(it, id, name)) {
                return Ok(answer.to_vec());
            }
        }
    }

    fn exchange_by_tcp(&self, server: SocketAddr, query: &[u8]) -> Result<Vec<u8>, Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut stream = TcpStream::connect_timeout(&server, left(deadline)?)?;
        let length = u16::try_from(query.len())
            .map_err(|_| Failure::Other("the name is too long".to_owned()))?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(query);
        stream.set_write_timeout(Some(left(deadline)?))?;
        stream.write_all(&framed)?;
        let mut length = [0; 2];
        read_by(&mut stream, &mut length, deadline)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        read_by(&mut stream, &mut answer, deadline)?;
        Ok(answer)
    }
}

fn read_by(stream: &mut TcpStream, into: &mut [u8], deadline: Instant) -> Result<(), Failure> {
    let mut filled = 0;
    while filled < into.len() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let Some(rest) = into.get_mut(filled..) else {
            break;
        };
        match stream.read(rest)? {
            0 => return Err(Failure::Misbehaving),
            count => filled += count,
        }
    }
    Ok(())
}

fn left(deadline: Instant) -> Result<Duration, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(Failure::Timeout);
    }
    Ok(left)
}

/// A number that cannot be foretold, so that nobody answers in the server's place.
fn random_id() -> u16 {
    let random = RandomState::new().build_hasher().finish();
    (random & 0xffff) as u16
}

/// Whether these bytes answer this very question.
fn answers(bytes: &[u8], id: u16, name: &Name<'_>) -> bool {
    let Ok(packet) = Packet::parse(bytes) else {
        return false;
    };
    let is_same = |question: &Question<'_>| {
        question.qname == *name && question.qtype == QTYPE::TYPE(TYPE::SRV)
    };
    packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && packet.questions.first().is_some_and(is_same)
}

/// The services in an answer; `None` if it was cut off, and has to be asked for by TCP.
fn read_answer(bytes: &[u8]) -> Result<Option<Vec<Service>>, Failure> {
    let packet = Packet::parse(bytes).map_err(|_| Failure::Misbehaving)?;
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Ok(None);
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Err(Failure::NoSuchHost),
        _ => return Err(Failure::Misbehaving),
    }
    let services: Vec<Service> = packet
        .answers
        .iter()
        .filter_map(|record| match &record.rdata {
            RData::SRV(srv) => Some(Service {
                target: srv.target.to_string(),
                port: srv.port,
                priority: srv.priority,
                weight: srv.weight,
            }),
            _ => None,
        })
        // A single dot says that the service is not there.
        .filter(|service| !service.target.is_empty())
        .collect();
    match services.is_empty() {
        true => Err(Failure::NoSuchHost),
        false => Ok(Some(services)),
    }
}

#[cfg(test)]
#[path = "dns_test.rs"]
pub(super) mod dns_test;
