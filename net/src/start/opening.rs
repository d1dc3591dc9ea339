//! From a configuration to a data directory that is locked, and the knowledge of who this member is.

use super::{DataDirectory, Entrance};
use super::{fence, rebuild};
use crate::config::{ClusterState, Config};
use crate::tls::Credentials;
use crate::{discovery, reactor};
use std::sync::Arc;

/// What a member starts with.
#[derive(Debug)]
pub struct Opened {
    /// The configuration, with the members that were searched for.
    pub config: Config,
    /// Its data directory.
    pub directory: DataDirectory,
    /// Who it is, and with whom it begins.
    pub entrance: Entrance,
    /// What it shows to other members.
    pub credentials: Arc<Credentials>,
}

/// Why a member does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// For the operator.
    #[error("{0}")]
    Refused(String),
    /// A stop signal with this number came while other members were waited for.
    #[error("stopped by signal {0}")]
    Stopped(i32),
}

impl From<String> for OpenError {
    fn from(why: String) -> Self {
        OpenError::Refused(why)
    }
}

/// Finds out who this member is, and locks its data directory. Blocks; a search for other members may take any time.
///
/// # Errors
/// [`OpenError`]. A member that cannot enter its cluster leaves nothing behind.
pub fn open(config: &Config) -> Result<Opened, OpenError> {
    let wal = Some(&*config.wal_dir).filter(|path| !path.as_os_str().is_empty());
    let data = config.data_directory();
    rebuild::settle(&data)?;
    let fresh = DataDirectory::is_fresh(&data, wal);
    if fresh {
        rebuild::check_unprepared(&data)?;
    }
    let mut config = config.clone();
    let noted = match fresh {
        true => Entrance::waiting(&config, &data.join("member"))?,
        false => None,
    };
    if noted.is_none() {
        if fresh && !config.discovery_srv.is_empty() {
            config.initial_cluster = discovery::find_by_srv(&config)?;
        }
        config.check_bootstrap(fresh)?;
    }
    let credentials = Credentials::for_peers(&config)?;
    // The peer port is bound later: another member that asks there meanwhile is refused at once, and need not wait.
    let beginning = match noted {
        Some(noted) => {
            noted.check_unmet(&credentials)?;
            Some(noted)
        }
        None if fresh => Some(begin(&config, &credentials)?),
        None => None,
    };
    let directory = DataDirectory::open(&data, wal).map_err(|error| error.to_string())?;
    fence::check(directory.member())?;
    let entrance = match beginning {
        Some(entrance) => {
            let noted = entrance.note(directory.member());
            noted.map_err(|error| error.to_string())?;
            entrance
        }
        None => Entrance::find(&config, directory.member(), directory.write_ahead_log())?,
    };
    Ok(Opened {
        config,
        directory,
        entrance,
        credentials,
    })
}

/// A member on an empty directory.
fn begin(config: &Config, credentials: &Arc<Credentials>) -> Result<Entrance, OpenError> {
    let waits = config.discovery.is_wanted() && config.initial_cluster_state == ClusterState::New;
    if !waits {
        return Ok(Entrance::beginning(config, credentials)?);
    }
    let (searching, credentials) = (config.clone(), Arc::clone(credentials));
    match reactor::outwait(move || Entrance::beginning(&searching, &credentials))? {
        Ok(entrance) => Ok(entrance?),
        Err(signal) => Err(OpenError::Stopped(signal)),
    }
}
