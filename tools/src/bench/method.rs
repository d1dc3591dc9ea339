//! The methods of the etcd v3 API that the generator calls.

macro_rules! methods {
    ($($name:ident => $path:literal,)*) => {
        /// A gRPC method; its discriminant indexes per-method tables.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Method {
            $(#[doc = concat!("`", $path, "`")] $name,)*
        }

        impl Method {
            /// Number of methods.
            pub const COUNT: usize = [$(Self::$name),*].len();

            /// The request path.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => $path,)* }
            }
        }
    };
}

methods! {
    Put => "/etcdserverpb.KV/Put",
    Range => "/etcdserverpb.KV/Range",
    DeleteRange => "/etcdserverpb.KV/DeleteRange",
    Txn => "/etcdserverpb.KV/Txn",
    Compact => "/etcdserverpb.KV/Compact",
    Watch => "/etcdserverpb.Watch/Watch",
    LeaseGrant => "/etcdserverpb.Lease/LeaseGrant",
    LeaseRevoke => "/etcdserverpb.Lease/LeaseRevoke",
    LeaseKeepAlive => "/etcdserverpb.Lease/LeaseKeepAlive",
    Status => "/etcdserverpb.Maintenance/Status",
    Defragment => "/etcdserverpb.Maintenance/Defragment",
    Snapshot => "/etcdserverpb.Maintenance/Snapshot",
    Authenticate => "/etcdserverpb.Auth/Authenticate",
    Lock => "/v3lockpb.Lock/Lock",
    Unlock => "/v3lockpb.Lock/Unlock",
    Campaign => "/v3electionpb.Election/Campaign",
    Resign => "/v3electionpb.Election/Resign",
}
