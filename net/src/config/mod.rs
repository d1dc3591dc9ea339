//! What the server is told: flags, environment, configuration file. Names, defaults, rules and texts are etcd's.

mod bootstrap;
mod defaults;
mod duration;
mod file;
mod flags;
mod gates;
mod help;
mod load;
mod parse;
mod resolve;
mod security;
mod url;
mod validate;

pub use defaults::{ClusterState, Config, Discovery};
pub use duration::format_duration;
pub use gates::FeatureGates;
pub use load::{ConfigError, Loaded, Notice, Outcome, load, without_secrets};
pub(crate) use resolve::lead_to_the_same;
pub(crate) use security::is_unset;
pub use security::{TlsVersion, TransportSecurity};
pub use url::{Scheme, Url};

/// The version of etcd that this server equals, wherever clients read capabilities from it.
pub const ETCD_VERSION: &str = "3.7.3";

/// The version that a cluster of such servers agrees on, and that of the data.
pub const CLUSTER_VERSION: &str = reeve_node::CLUSTER_VERSION;

/// Reeve's own version.
pub const REEVE_VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod config_test;

#[cfg(test)]
mod fuzz_test;
