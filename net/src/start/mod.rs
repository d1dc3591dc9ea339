//! Starting a server: the data directory, recovery, the node, the reactors.

mod cluster;
mod data_directory;
mod launch;
mod member;
mod storage;

pub use data_directory::{DataDirectory, DataDirectoryError};
pub use launch::{
    LaunchError, ReactorSetup, STOP_FAILED, Service, bind_peers, launch, reactor_count,
};
pub use member::Member;
pub use storage::StorageError;
