//! Starting a server: the data directory, recovery, the node, the reactors.

mod data_directory;
mod entrance;
mod entrance_file;
mod fence;
mod initial_check;
mod joining;
mod launch;
mod member;
mod opening;
mod publication;
mod rebuild;
mod release;
mod storage;

pub use data_directory::{DataDirectory, DataDirectoryError};
pub use entrance::{Entrance, Rebuilt};
pub use entrance_file::NoteError;
pub use launch::{
    LaunchError, ReactorSetup, STOP_FAILED, STOP_REMOVED, Service, bind_peers, launch,
    reactor_count,
};
pub use member::Member;
pub use opening::{OpenError, Opened, open};
pub use rebuild::rebuild;
pub use storage::StorageError;
