//! The members of the cluster, as rows of the `members` tree.
//!
//! ```text
//! row key                          row (blob)                              written by
//! "configuration"                  voters and learners, as the consensus   the node
//!                                  core encodes them
//! "member/" id (8 bytes b.-e.)     record of a member                      changes of the members,
//!                                                                          attributes
//! "removed/" id (8 bytes b.-e.)    nothing                                 removals
//! "version"                        the cluster version                     itself
//! ```
//!
//! All of them are written by applied entries alone, so that every member has the same; and as they
//! are rows, a reactor reads them from the published root like anything else.

mod record;
mod table;

#[cfg(test)]
mod members_test;

pub use record::{AgreedVersion, MemberRecord};
pub use table::{MemberTable, remove_member, save_member, save_version};

use crate::btree::View;
use crate::command::{ClusterVersion, MemberAttributes, Refusal};
use crate::mvcc::Writer;
use crate::pages::Outcome;

/// Carries out what a member tells of itself. `None` in the answer if the member was removed, or never
/// was one: nothing is changed then.
///
/// # Errors
/// [`Stop`](crate::pages::Stop), having changed nothing.
pub(crate) fn set_attributes(
    store: &mut impl Writer,
    attributes: &MemberAttributes<'_>,
) -> Outcome<Result<MemberRecord, Refusal>> {
    let Some(mut record) = table::load_member(store, attributes.member)? else {
        return Ok(Err(Refusal::MemberNotFound));
    };
    record.name = text(attributes.name);
    record.client_urls = attributes
        .client_urls
        .split(|&byte| byte == b'\n')
        .filter(|url| !url.is_empty())
        .map(text)
        .collect();
    record.format = attributes.format;
    save_member(store, &record)?;
    Ok(Ok(record))
}

/// Settles the cluster version, which is never lowered. Gives what holds from now on.
///
/// # Errors
/// [`Stop`](crate::pages::Stop), having changed nothing.
pub(crate) fn set_version(
    store: &mut impl Writer,
    version: &ClusterVersion<'_>,
) -> Outcome<AgreedVersion> {
    let next = AgreedVersion {
        format: version.format,
        text: text(version.version),
    };
    match load_version(store)? {
        Some(current) if current.format > next.format => Ok(current),
        _ => {
            save_version(store, &next)?;
            Ok(next)
        }
    }
}

/// The committed cluster version, if it is settled.
///
/// # Errors
/// [`Stop`](crate::pages::Stop).
pub fn load_version(view: &impl View) -> Outcome<Option<AgreedVersion>> {
    table::load_version(view)
}

/// Names and URLs come as bytes from whoever proposed them; what is no text is made one, alike on all
/// members.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
