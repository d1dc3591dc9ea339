//! TLS: what this member shows and whom it believes, and streams that are encrypted.
//!
//! [`Credentials`] hold what the flags say. The files of certificates, keys, authorities and lists of revoked certificates are
//! looked at before each handshake, and read again when they have changed, so that new ones need no restart (etcd reads them
//! each time). The rules are etcd's:
//!
//! * whoever connects has to show a certificate if authorities are named, one that they vouch for, that is not revoked, and
//!   whose addresses and names, if it has any, lead back to where the connection comes from;
//! * whoever is dialled has to show a certificate that is valid for the host that was dialled;
//! * with a list of allowed names, both have to have one of them;
//! * certificates that members have made for themselves are not checked.
//!
//! Only TLS 1.2 and 1.3 are spoken, and no session is resumed: each connection is checked anew.

mod credentials;
mod files;
mod generated;
mod origin;
mod remembered;
mod stream;
mod verify;
mod words;

pub use credentials::Credentials;
pub(crate) use credentials::{ClientSession, ServerSession};
pub(crate) use origin::check_origin;
pub(crate) use stream::TlsStream;
pub(crate) use verify::SelfMade;
pub(crate) use words::describe_io;

#[cfg(test)]
#[allow(
    unreachable_pub,
    missing_docs,
    reason = "shared with the tests of the running server"
)]
pub(crate) mod test_certificates;
#[cfg(test)]
mod tls_test;
