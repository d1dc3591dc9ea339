//! The server binary.

use reeve_net::{
    config::{self, Config, ConfigError, Outcome},
    log, reactor,
    start::{DataDirectory, Entrance, Member, STOP_REMOVED, bind_peers, launch, reactor_count},
    tls::Credentials,
};
use std::{collections::BTreeMap, io::Write as _, process::ExitCode, sync::Arc};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A bad flag or value.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    let flags = arguments.get(1..).unwrap_or_default();
    match config::load(flags, &environment) {
        Ok(Outcome::Run(loaded)) => run(&loaded, &arguments),
        Ok(Outcome::Print { stderr, stdout }) => {
            // A closed pipe is the reader's choice.
            let _ = std::io::stderr().write_all(stderr.as_bytes());
            let _ = std::io::stdout().write_all(stdout.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => refuse(&error, &arguments),
    }
}

/// Says what is wrong with the configuration, as etcd does.
fn refuse(error: &ConfigError, arguments: &[String]) -> ExitCode {
    match error {
        ConfigError::Usage(_) => {
            let _ = std::io::stderr().write_all(error.to_string().as_bytes());
            return ExitCode::from(USAGE_ERROR);
        }
        ConfigError::Invalid(reason) => {
            reeve_net::info!("Running: ", "args" => arguments);
            reeve_net::warn!("failed to verify flags", "error" => reason);
        }
        ConfigError::Conflict(variable) => {
            reeve_net::fatal!(error.to_string(), "environment-variable" => variable);
        }
    }
    ExitCode::FAILURE
}

/// Runs a server until it is told to stop.
fn run(loaded: &config::Loaded, arguments: &[String]) -> ExitCode {
    let Config {
        log_level,
        log_format,
        ..
    } = loaded.config;
    let options = log::Options {
        level: log_level,
        format: log_format,
    };
    // Before any other thread exists, so that all of them leave the signals to the one that waits.
    let prepared = reactor::block_stop_signals().and_then(|()| log::init(options));
    reeve_net::info!("Running: ", "args" => arguments);
    for notice in &loaded.notices {
        let fields: Vec<(&str, &dyn log::LogValue)> = notice
            .fields
            .iter()
            .map(|(name, value)| (*name, value as &dyn log::LogValue))
            .collect();
        log::write(
            notice.level,
            concat!(file!(), ":", line!()),
            &notice.message,
            &fields,
        );
    }
    let outcome = match prepared {
        Ok(()) => serve(&loaded.config),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(STOP_REMOVED) => {
            log::flush();
            ExitCode::SUCCESS
        }
        Ok(signal) => {
            log::flush();
            reactor::end_by_signal(signal)
        }
        Err(reason) => {
            reeve_net::fatal!("cannot serve", "error" => reason);
            log::flush();
            ExitCode::FAILURE
        }
    }
}

/// Locks the data directory and serves. Answers the signal that ended it.
fn serve(config: &Config) -> Result<i32, String> {
    let wal = Some(&*config.wal_dir).filter(|path| !path.as_os_str().is_empty());
    let data = config.data_directory();
    let fresh = DataDirectory::is_fresh(&data, wal);
    config.check_bootstrap(fresh)?;
    let credentials = Credentials::for_peers(config)?;
    // A member that cannot enter its cluster leaves nothing behind. The peer port is bound later: another member that asks
    // there meanwhile is refused at once, and need not wait.
    let beginning = match fresh {
        true => Some(Entrance::beginning(config, &credentials)?),
        false => None,
    };
    let directory = DataDirectory::open(&data, wal).map_err(|error| error.to_string())?;
    let entrance = match beginning {
        Some(entrance) => entrance,
        None => Entrance::find(config, directory.write_ahead_log(), &credentials)?,
    };
    let reactors = reactor_count(config);
    let peers = bind_peers(config).map_err(|error| error.to_string())?;
    let member = Member::new(
        config.clone(),
        &directory,
        entrance,
        reactors,
        peers,
        credentials,
    );
    launch(config, move |setup| Arc::clone(&member).set_up(setup))
        .map_err(|error| error.to_string())
}
