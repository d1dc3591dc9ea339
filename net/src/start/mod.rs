//! Starting a server: the data directory, recovery, the node, the reactors.

mod data_directory;
mod entrance;
mod joining;
mod launch;
mod member;
mod publication;
mod release;
mod storage;

pub use data_directory::{DataDirectory, DataDirectoryError};
pub use entrance::Entrance;
pub use launch::{
    LaunchError, ReactorSetup, STOP_FAILED, STOP_REMOVED, Service, bind_peers, launch,
    reactor_count,
};
pub use member::Member;
pub use storage::StorageError;
