//! The etcd v3 API as protobuf messages.
//!
//! Package names, field names and numbers are etcd's; the texts under `proto/` are Reeve's own. Every `bytes` field is a
//! [`bytes::Bytes`], so that decoding from a `Bytes` borrows the request's memory instead of copying it. For each service
//! there is a module with its method paths, for example [`etcdserverpb::kv_methods::PUT`].

/// Declares a module with the messages that were generated for one package.
macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $package:literal) => {
        $(#[$doc])*
        #[allow(missing_docs, clippy::all, clippy::pedantic)]
        pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
        }
    };
}

generated!(
    /// Users, roles and permissions.
    authpb,
    "authpb"
);
generated!(
    /// The services and messages that clients call.
    etcdserverpb,
    "etcdserverpb"
);
generated!(
    /// The health service of gRPC.
    health,
    "grpc.health.v1"
);
generated!(
    /// Membership records.
    membershippb,
    "membershippb"
);
generated!(
    /// Keys, values and events.
    mvccpb,
    "mvccpb"
);
generated!(
    /// Leader election.
    v3electionpb,
    "v3electionpb"
);
generated!(
    /// Locks.
    v3lockpb,
    "v3lockpb"
);

#[cfg(test)]
mod lib_test;
