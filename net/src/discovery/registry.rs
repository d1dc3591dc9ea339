//! What members of a new cluster write into another cluster to find each other: etcd's v3 discovery, with its keys and
//! values, so that either side may be etcd.
//!
//! ```text
//! /_etcd/registry/<token>/_config/size    the number of members, in decimal; an operator puts it there
//! /_etcd/registry/<token>/members/<id>    name=url,name=url of the member with this id (hex), put by itself
//! ```
//!
//! The first of them by create revision, as many as the size says, are the cluster; whoever comes later is refused.

use crate::config::Url;

/// The keys of one new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) size: String,
    /// Beginning of the keys of the members.
    pub(super) members: String,
}

impl Keys {
    /// Those under a token.
    pub(super) fn new(token: &str) -> Self {
        let prefix = cleaned(&format!("/_etcd/registry/{token}"));
        Keys {
            size: format!("{prefix}/_config/size"),
            members: format!("{prefix}/members"),
        }
    }

    /// The key of one member.
    pub(super) fn member(&self, id: u64) -> String {
        format!("{}/{id:x}", self.members)
    }
}

/// A path without empty parts, `.` and `..`, as etcd makes it.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Why members do not come together. The texts are etcd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RegistryError {
    #[error("discovery: size key not found")]
    NoSize,
    #[error("discovery: size key is bad")]
    BadSize,
    #[error("discovery: cluster is full")]
    Full,
    #[error("discovery: invalid peer URL")]
    BadUrl,
}

/// The size that stands at its key, if anything does.
pub(super) fn read_size(value: Option<&[u8]>) -> Result<usize, RegistryError> {
    let value = value.ok_or(RegistryError::NoSize)?;
    let text = std::str::from_utf8(value).map_err(|_| RegistryError::BadSize)?;
    let size = text.parse::<i64>().map_err(|_| RegistryError::BadSize)?;
    match usize::try_from(size) {
        Ok(size) if size > 0 => Ok(size),
        _ => Err(RegistryError::BadSize),
    }
}

/// A member that has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) key: String,
    /// `name=url,...`.
    pub(super) addresses: String,
    pub(super) create_revision: i64,
}

/// All that have registered, in the order in which they did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registry(Vec<Registered>);

impl Registry {
    /// Puts them in order. What is no registration is handed to `complain`, with what is wrong with it.
    pub(super) fn new(
        registered: impl Iterator<Item = Registered>,
        complain: &mut dyn FnMut(&Registered, &'static str),
    ) -> Self {
        let mut all: Vec<Registered> = Vec::new();
        for mut member in registered {
            member.key = member.key.trim().to_owned();
            member.addresses = member.addresses.trim().to_owned();
            if !member.addresses.contains('=') {
                complain(&member, "invalid peer info returned from discovery service");
            } else if all.iter().any(|known| known.key == member.key) {
                complain(&member, "found duplicate peer from discovery service");
            } else {
                all.push(member);
            }
        }
        all.sort_by_key(|member| member.create_revision);
        Registry(all)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Registered> {
        self.0.iter()
    }

    /// Whether a member with this key belongs to a cluster of this size, or may still register.
    ///
    /// # Errors
    /// [`RegistryError::Full`].
    pub(super) fn check_room(&self, size: usize, own: &str) -> Result<(), RegistryError> {
        let place = self.0.iter().position(|member| member.key == own);
        match place.unwrap_or(self.0.len()) < size {
            true => Ok(()),
            false => Err(RegistryError::Full),
        }
    }

    /// The first `size` members, as `--initial-cluster` lists them.
    ///
    /// # Errors
    /// [`RegistryError::BadUrl`].
    pub(super) fn cluster(&self, size: usize) -> Result<String, RegistryError> {
        let first = self.0.iter().take(size);
        let texts: Vec<&str> = first.map(|member| member.addresses.as_str()).collect();
        let cluster = texts.join(",");
        for pair in cluster.split(',') {
            let (_, url) = pair.split_once('=').ok_or(RegistryError::BadUrl)?;
            Url::parse(url).map_err(|_| RegistryError::BadUrl)?;
        }
        Ok(cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_etcds() {
        let keys = Keys::new("3e86b59982e49066c5d813af1c2e2579cbf573de");
        let prefix = "/_etcd/registry/3e86b59982e49066c5d813af1c2e2579cbf573de";
        assert_eq!(keys.size, format!("{prefix}/_config/size"));
        assert_eq!(keys.member(0xab), format!("{prefix}/members/ab"));
        assert_eq!(
            Keys::new("a//b/./c/../").size,
            "/_etcd/registry/a/b/_config/size"
        );
    }

    #[test]
    fn sizes_are_positive_numbers() {
        assert_eq!(read_size(Some(b"3")), Ok(3));
        assert_eq!(read_size(None), Err(RegistryError::NoSize));
        for bad in [&b""[..], b"0", b"-1", b"three", b"3 ", &[0xff]] {
            assert_eq!(read_size(Some(bad)), Err(RegistryError::BadSize), "{bad:?}");
        }
    }

    fn registered(key: &str, addresses: &str, create_revision: i64) -> Registered {
        Registered {
            key: key.to_owned(),
            addresses: addresses.to_owned(),
            create_revision,
        }
    }

    #[test]
    fn the_first_to_register_are_the_cluster() {
        let all = [
            registered("k/a", "a=http://a:1", 9),
            registered("k/b", " b=http://b:1,b=http://b:2\n", 5),
            registered("k/c", "c=http://c:1", 7),
        ];
        let registry = Registry::new(all.into_iter(), &mut |_, why| panic!("{why}"));
        let cluster = "b=http://b:1,b=http://b:2,c=http://c:1";
        assert_eq!(registry.cluster(2), Ok(cluster.to_owned()));
        assert_eq!(registry.check_room(2, "k/b"), Ok(()));
        assert_eq!(registry.check_room(2, "k/c"), Ok(()));
        assert_eq!(registry.check_room(2, "k/a"), Err(RegistryError::Full));
        assert_eq!(registry.check_room(3, "k/d"), Err(RegistryError::Full));
        assert_eq!(registry.check_room(4, "k/d"), Ok(()));
    }

    #[test]
    fn what_is_no_registration_is_told() {
        let all = [
            registered("k/a", "a=http://a:1", 1),
            registered("k/b", "nonsense", 2),
            registered("k/a", "b=http://b:1", 3),
            registered("k/c", "c=no URL", 4),
        ];
        let mut told = Vec::new();
        let registry = Registry::new(all.into_iter(), &mut |member, why| {
            told.push(format!("{} {why}", member.create_revision));
        });
        assert_eq!(
            told,
            [
                "2 invalid peer info returned from discovery service",
                "3 found duplicate peer from discovery service"
            ]
        );
        assert_eq!(registry.len(), 2);
        assert_eq!(registry.cluster(2), Err(RegistryError::BadUrl));
    }
}
