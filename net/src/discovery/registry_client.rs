//! Registering with the cluster that knows the others, and waiting for them.

use super::registry::{Keys, Registered, Registry, RegistryError, read_size};
use crate::client::{Client, ClientError, ClientOptions, ClientTls};
use crate::config::Discovery;
use bytes::Bytes;
use reeve_api::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse, kv_methods};
use std::time::Duration;

/// Between two looks at who has registered. A look asks for as many short pairs as the cluster will have members, so that
/// asking again costs less than holding a watch open across restarts of the other cluster.
const LOOK: Duration = Duration::from_millis(500);

/// Doublings of the pause after a failure, which begins at two seconds (etcd's numbers).
const DOUBLINGS: u32 = 8;

/// Registers the member with this id and these addresses (`name=url,...`), and waits until its companions have come. Gives
/// all of them, as `--initial-cluster` lists them. Blocks for as long as they need.
///
/// # Errors
/// Why this member cannot be one of them, in etcd's words. That nobody answers is not among them: it is tried again.
pub(crate) fn join(discovery: &Discovery, member: u64, addresses: &str) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| {
        let text = format!("failed to join discovery cluster ({error})");
        crate::warn!(
            "failed to bootstrap; discovery token was already used",
            "discovery-token" => discovery.token,
            "discovery-endpoints" => discovery.endpoints,
            "error" => text,
        );
        crate::warn!("do not reuse discovery token; generate a new one to bootstrap a cluster");
        text
    };
    let login = discovery.login();
    let options = ClientOptions {
        endpoints: discovery.endpoints.clone(),
        dial_timeout: discovery.dial_timeout,
        request_timeout: discovery.request_timeout,
        keepalive_time: discovery.keepalive_time,
        keepalive_timeout: discovery.keepalive_timeout,
        tls: ClientTls {
            certificate: discovery.cert.clone(),
            key: discovery.key.clone(),
            authorities: discovery.cacert.clone(),
            believes_all: discovery.insecure_skip_tls_verify,
            is_default: !discovery.insecure_transport
                || discovery.insecure_skip_tls_verify
                || [&discovery.cert, &discovery.cacert]
                    .iter()
                    .any(|path| !path.as_os_str().is_empty()),
        },
        login: login.map(|(name, password)| (name.to_owned(), password.to_owned())),
    };
    let client = Client::new(options).map_err(|error| failed(&error))?;
    let keys = Keys::new(&discovery.token);
    let joining = Joining {
        own: keys.member(member),
        keys,
        client,
        addresses,
        failures: 0,
    };
    let joined = joining.run();
    joined.map_err(|error| failed(&error))
}

struct Joining<'a> {
    client: Client,
    keys: Keys,
    /// The key of this member.
    own: String,
    addresses: &'a str,
    /// Failures in a row.
    failures: u32,
}

impl Joining<'_> {
    fn run(mut self) -> Result<String, RegistryError> {
        let size = self.persist("cluster status check", Self::size)?;
        self.look(size)?;
        self.persist("register member itself", Self::register);
        let mut found = 0;
        loop {
            let registry = self.look(size)?;
            if registry.len() != found {
                found = registry.len();
                for member in registry.iter() {
                    crate::info!(
                        "found peer from discovery service",
                        "memberKey" => member.key,
                        "memberInfo" => member.addresses,
                    );
                }
                let message = match found < size {
                    true => "waiting for peers from discovery service",
                    false => "found all needed peers from discovery service",
                };
                crate::info!(message, "clusterSize" => size, "found-peers" => found);
            }
            if found >= size {
                return registry.cluster(size);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Who has registered, this member among the first or not yet.
    fn look(&mut self, size: usize) -> Result<Registry, RegistryError> {
        let registry = self.persist("cluster status check", Self::registry);
        registry.check_room(size, &self.own)?;
        Ok(registry)
    }

    fn size(&self) -> Result<Result<usize, RegistryError>, ClientError> {
        let request = RangeRequest {
            key: Bytes::from(self.keys.size.clone()),
            ..RangeRequest::default()
        };
        let answer: RangeResponse = self.client.call(kv_methods::RANGE, &request)?;
        Ok(read_size(answer.kvs.first().map(|pair| &pair.value[..])))
    }

    fn registry(&self) -> Result<Registry, ClientError> {
        // All keys with this beginning: `s`, its last letter, is followed by `t`.
        let mut end = self.keys.members.clone().into_bytes();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let request = RangeRequest {
            key: Bytes::from(self.keys.members.clone()),
            range_end: Bytes::from(end),
            ..RangeRequest::default()
        };
        let answer: RangeResponse = self.client.call(kv_methods::RANGE, &request)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let registered = answer.kvs.iter().map(|pair| Registered {
            key: text(&pair.key),
            addresses: text(&pair.value),
            create_revision: pair.create_revision,
        });
        Ok(Registry::new(registered, &mut |member, why| {
            crate::warn!(
                why,
                "memberKey" => member.key,
                "memberInfo" => member.addresses,
            );
        }))
    }

    fn register(&self) -> Result<(), ClientError> {
        let request = PutRequest {
            key: Bytes::from(self.own.clone()),
            value: Bytes::from(self.addresses.to_owned()),
            ..PutRequest::default()
        };
        let _: PutResponse = self.client.call(kv_methods::PUT, &request)?;
        crate::info!(
            "register member itself successfully",
            "memberKey" => self.own,
            "memberInfo" => self.addresses,
        );
        Ok(())
    }

    /// Asks again until there is an answer, ever more seldom.
    fn persist<T>(
        &mut self,
        step: &'static str,
        ask: impl Fn(&Self) -> Result<T, ClientError>,
    ) -> T {
        loop {
            let error = match ask(self) {
                Ok(answer) => {
                    self.failures = 0;
                    return answer;
                }
                Err(error) => error,
            };
            self.failures = (self.failures + 1).min(DOUBLINGS);
            let pause = Duration::from_secs(1 << self.failures);
            crate::warn!(
                "retry connecting to discovery service",
                "reason" => step,
                "backoff" => pause,
                "error" => error.to_string(),
            );
            std::thread::sleep(pause);
        }
    }
}
