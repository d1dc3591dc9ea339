//! etcd's error codes and texts, in one table. Clients match on the full text.

use crate::grpc::{Code, Status};
use reeve_engine::command::Refusal;

/// Declares the failures that clients know, each with its code and its text after `etcdserver: `.
macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident = $code:ident, $text:literal;)*) => {
        $(
            $(#[$doc])*
            pub(crate) const fn $name() -> Status {
                Status {
                    code: Code::$code,
                    message: std::borrow::Cow::Borrowed(concat!("etcdserver: ", $text)),
                }
            }
        )*
    };
}

failures! {
    /// An empty key.
    empty_key = InvalidArgument, "key is not provided";
    /// `ignore_value` or `ignore_lease` on an absent key, or an operation without content.
    key_not_found = InvalidArgument, "key not found";
    /// `ignore_value` together with a value.
    value_provided = InvalidArgument, "value is provided";
    /// `ignore_lease` together with a lease.
    lease_provided = InvalidArgument, "lease is provided";
    /// A transaction above `--max-txn-ops`.
    too_many_operations = InvalidArgument, "too many operations in txn request";
    /// Two puts of one key, or a put inside a delete.
    duplicate_key = InvalidArgument, "duplicate key given in txn request";
    /// A sort order or target without a meaning.
    invalid_sort_option = InvalidArgument, "invalid sort option";
    /// A request above `--max-request-bytes`.
    request_too_large = InvalidArgument, "request is too large";
    /// No such lease.
    lease_not_found = NotFound, "requested lease not found";
    /// A grant with an id that is in use.
    lease_exists = FailedPrecondition, "lease already exists";
    /// A time to live above the limit.
    lease_ttl_too_large = OutOfRange, "too large lease TTL";
    /// The revision is compacted.
    compacted = OutOfRange, "mvcc: required revision has been compacted";
    /// The revision does not exist yet.
    future_revision = OutOfRange, "mvcc: required revision is a future revision";
    /// The space quota is used up, or the disk is full.
    no_space = ResourceExhausted, "mvcc: database space exceeded";
    /// More requests wait than the server accepts.
    too_many_requests = ResourceExhausted, "too many requests";
    /// No leader is known.
    no_leader = Unavailable, "no leader";
    /// The request was not committed in time, and the leader changed meanwhile.
    timed_out_leader_failed = Unavailable, "request timed out, possibly due to previous leader failure";
    /// The request was not committed in time, and the leader could not be reached meanwhile.
    timed_out_connection_lost = Unavailable, "request timed out, possibly due to connection lost";
    /// The server is stopping.
    stopped = Unavailable, "server stopped";
    /// The request was not committed in time.
    timed_out = Unavailable, "request timed out";
    /// This member's disk or log is damaged, or an alarm says that the members differ.
    corrupt = DataLoss, "corrupt cluster";
    /// Peer URLs that are none.
    bad_member_urls = InvalidArgument, "given member URLs are invalid";
    /// No such member, or one that was removed.
    member_not_found = NotFound, "member not found";
    /// The id of a member to be added is in use.
    member_exists = FailedPrecondition, "member ID already exist";
    /// A peer URL is in use.
    peer_url_exists = FailedPrecondition, "Peer URLs already exists";
    /// A change would leave fewer started members than a quorum. (etcd's table says `FailedPrecondition`, but this is what
    /// leaves the server.)
    not_enough_started = Unknown, "re-configuration failed due to not enough started members";
    /// Only a learner is promoted.
    member_not_learner = FailedPrecondition, "can only promote a learner member";
    /// The learner lags.
    learner_not_ready = FailedPrecondition, "can only promote a learner member which is in sync with leader";
    /// `--max-learners` learners are there already.
    too_many_learners = FailedPrecondition, "too many learner members in cluster";
    /// The active members hardly make a quorum.
    unhealthy = Unavailable, "unhealthy cluster";
    /// Only the leader does this.
    not_leader = FailedPrecondition, "not leader";
    /// Leadership goes to voters alone.
    bad_transferee = FailedPrecondition, "bad leader transferee";
    /// Nobody took over.
    transfer_timed_out = Unknown, "request timed out, leader transfer took too long";
    /// A learner does not serve this.
    learner = FailedPrecondition, "rpc not supported for learner";
    /// The client ended the watch.
    watch_canceled = Canceled, "watch canceled";
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::KeyNotProvided => empty_key(),
            Refusal::KeyNotFound => key_not_found(),
            Refusal::ValueProvided => value_provided(),
            Refusal::LeaseProvided => lease_provided(),
            Refusal::TooManyOperations => too_many_operations(),
            Refusal::DuplicateKey => duplicate_key(),
            Refusal::InvalidSortOption => invalid_sort_option(),
            Refusal::LeaseNotFound => lease_not_found(),
            Refusal::LeaseExists => lease_exists(),
            Refusal::LeaseTtlTooLarge => lease_ttl_too_large(),
            Refusal::Compacted { .. } => compacted(),
            Refusal::FutureRevision { .. } => future_revision(),
            Refusal::MemberNotFound => member_not_found(),
            Refusal::MemberExists => member_exists(),
            Refusal::PeerUrlExists => peer_url_exists(),
            Refusal::MemberNotLearner => member_not_learner(),
            Refusal::TooManyLearners => too_many_learners(),
            // etcd would not survive it.
            Refusal::LastVoter => not_enough_started(),
            Refusal::Corrupt => corrupt(),
            Refusal::NoSpace => no_space(),
            Refusal::StaleTerm => Status::internal("a lease expiry met another term"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_begin_as_clients_expect() {
        assert_eq!(
            lease_not_found().message,
            "etcdserver: requested lease not found"
        );
        assert_eq!(Status::from(Refusal::DuplicateKey), duplicate_key());
    }
}
