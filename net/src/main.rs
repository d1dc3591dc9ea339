//! The server binary.

use reeve_net::{
    config::{self, Config, ConfigError, Outcome},
    log, reactor,
    start::{
        Member, OpenError, Opened, STOP_FAILED, STOP_REMOVED, bind_peers, launch, open,
        reactor_count, rebuild,
    },
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
    let rebuilds = arguments.get(1).is_some_and(|first| first == "rebuild");
    let flags = arguments.get(1 + usize::from(rebuilds)..);
    let flags = flags.unwrap_or_default();
    let loaded = config::load(flags, &environment);
    let arguments = config::without_secrets(&arguments);
    match loaded {
        Ok(Outcome::Run(loaded)) => run(&loaded, &arguments, rebuilds),
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

/// Runs a server until it is told to stop, or rebuilds its member.
fn run(loaded: &config::Loaded, arguments: &[String], rebuilds: bool) -> ExitCode {
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
        Ok(()) if rebuilds => match rebuild(&loaded.config) {
            Ok(done) => {
                reeve_net::info!("rebuilt", "done" => done);
                log::flush();
                // A closed pipe is the reader's choice.
                let _ = std::io::stdout().write_all(format!("{done}\n").as_bytes());
                return ExitCode::SUCCESS;
            }
            Err(reason) => Err(format!("cannot rebuild this member: {reason}")),
        },
        Ok(()) => serve(&loaded.config),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(STOP_REMOVED) => {
            log::flush();
            ExitCode::SUCCESS
        }
        // It has logged why.
        Ok(STOP_FAILED) => {
            log::flush();
            ExitCode::FAILURE
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
    let opened = match open(config) {
        Ok(opened) => opened,
        Err(OpenError::Stopped(signal)) => return Ok(signal),
        Err(error) => return Err(error.to_string()),
    };
    let Opened {
        config,
        directory,
        entrance,
        credentials,
    } = opened;
    let reactors = reactor_count(&config);
    let peers = bind_peers(&config).map_err(|error| error.to_string())?;
    let member = Member::new(
        config.clone(),
        &directory,
        entrance,
        reactors,
        peers,
        credentials,
    );
    launch(&config, move |setup| Arc::clone(&member).set_up(setup))
        .map_err(|error| error.to_string())
}
