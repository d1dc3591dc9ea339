//! Finding the members of a cluster that begins, where no list of them is given: by records of the domain name system
//! ([`srv`]), or through another cluster ([`registry`]). Everything here blocks: it is for a start, before the reactors run.

mod dns;
mod registry;
mod registry_client;
mod srv;

pub(crate) use registry_client::join;
pub(crate) use srv::find_by_srv;
