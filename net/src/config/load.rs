//! Putting the configuration together: flag over environment over default, or a file alone.

use super::{
    defaults::Config,
    file,
    flags::{Flag, SECTIONS, parse_switch},
    help,
    parse::{self, CommandLine, Given},
    validate,
};
use crate::log::Level;
use std::collections::BTreeMap;

/// Something to log once the log is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub message: String,
    /// Names and values of its fields.
    pub fields: Vec<(&'static str, String)>,
}

/// A configuration that is valid, and what has to be said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// To be logged.
    pub notices: Vec<Notice>,
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To run a server.
    Run(Box<Loaded>),
    /// To print something and end with 0: on stderr, then on stdout.
    Print {
        /// For stderr.
        stderr: String,
        /// For stdout.
        stdout: String,
    },
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An unknown flag or a bad value: to be printed on stderr; exit code 2.
    #[error("{0}\n{usage}", usage = help::USAGE)]
    Usage(String),
    /// The values do not make sense together: to be logged as `failed to verify flags`; exit code 1.
    #[error("{0}")]
    Invalid(String),
    /// An environment variable and a flag say something about the same; fatal, exit code 1.
    #[error(
        "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))"
    )]
    Conflict(String),
}

/// Puts the configuration together from the arguments (without the program's name) and the environment.
pub fn load(
    arguments: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<Outcome, ConfigError> {
    let line = parse::parse(arguments).map_err(ConfigError::Usage)?;
    let mut config = Config::default();
    for given in &line.given {
        let refused = |reason: String| ConfigError::Usage(parse::refused(given, &reason));
        given.flag.set(&mut config, &given.value).map_err(refused)?;
    }
    if let Some(outcome) = special(&line)? {
        return Ok(outcome);
    }
    let mut notices = Vec::new();
    let file = value_of(&line, "config-file")
        .or_else(|| environment.get("ETCD_CONFIG_FILE").cloned())
        .filter(|path| !path.is_empty());
    if let Some(path) = file {
        config = file::read(&path).map_err(ConfigError::Invalid)?;
        let message = "loaded server configuration, other configuration command line flags and environment variables will be ignored if provided";
        notices.push(notice(Level::Info, message, vec![("path", path)]));
    } else {
        apply_environment(&mut config, &line.given, environment, &mut notices)?;
    }
    validate::complete(&mut config);
    validate::check(&config, &mut notices).map_err(ConfigError::Invalid)?;
    Ok(Outcome::Run(Box::new(Loaded { config, notices })))
}

/// `--help`, `--version`, and arguments that are no flags.
fn special(line: &CommandLine) -> Result<Option<Outcome>, ConfigError> {
    if line.help {
        let (stderr, stdout) = (help::USAGE.to_owned(), help::flags());
        return Ok(Some(Outcome::Print { stderr, stdout }));
    }
    if let Some(argument) = &line.positional {
        return Err(ConfigError::Invalid(format!(
            "{argument:?} is not a valid flag"
        )));
    }
    let version = value_of(line, "version");
    if version.is_some_and(|value| parse_switch(&value) == Ok(true)) {
        let (stderr, stdout) = (String::new(), help::version());
        return Ok(Some(Outcome::Print { stderr, stdout }));
    }
    Ok(None)
}

fn value_of(line: &CommandLine, name: &str) -> Option<String> {
    let given = line
        .given
        .iter()
        .rev()
        .find(|given| given.flag.name == name)?;
    Some(given.value.clone())
}

pub(super) fn notice(
    level: Level,
    message: impl Into<String>,
    fields: Vec<(&'static str, String)>,
) -> Notice {
    Notice {
        level,
        message: message.into(),
        fields,
    }
}

/// Flags whose values may hold a password.
const SECRET: [&str; 2] = ["discovery-password", "discovery-user"];

/// What of a flag's value may stand in the log.
fn shown<'a>(flag: &str, value: &'a str) -> &'a str {
    match value.split_once(':') {
        Some((name, _)) if flag == "discovery-user" => name,
        _ if flag == "discovery-password" => "***",
        _ => value,
    }
}

/// The arguments as they may stand in the log: without passwords.
#[must_use]
pub fn without_secrets(arguments: &[String]) -> Vec<String> {
    let secret = |argument: &str| {
        let name = argument.strip_prefix('-')?;
        let name = name.strip_prefix('-').unwrap_or(name);
        SECRET.into_iter().find(|secret| *secret == name)
    };
    let mut out = Vec::with_capacity(arguments.len());
    let mut before: Option<&str> = None;
    for argument in arguments {
        let flag = before.take();
        out.push(match (flag, argument.split_once('=')) {
            (Some(flag), _) => shown(flag, argument).to_owned(),
            (None, Some((name, value))) if secret(name).is_some() => {
                format!("{name}={}", shown(secret(name).unwrap_or(name), value))
            }
            (None, _) => {
                before = secret(argument);
                argument.clone()
            }
        });
    }
    out
}

/// `max-txn-ops` is `ETCD_MAX_TXN_OPS` in the environment.
pub(super) fn variable(flag: &str) -> String {
    format!("ETCD_{}", flag.to_uppercase().replace('-', "_"))
}

/// Applies the environment to flags that are not on the command line.
fn apply_environment(
    config: &mut Config,
    line: &[Given],
    environment: &BTreeMap<String, String>,
    notices: &mut Vec<Notice>,
) -> Result<(), ConfigError> {
    let flags = SECTIONS.iter().flat_map(|(_, flags)| *flags);
    let by_variable: BTreeMap<String, &Flag> =
        flags.map(|flag| (variable(flag.name), flag)).collect();
    let mut conflict = None;
    for (name, value) in environment
        .iter()
        .filter(|(name, _)| name.starts_with("ETCD_"))
    {
        let Some(flag) = by_variable.get(name).filter(|flag| flag.name != "version") else {
            let text = format!("{name}={value}");
            let fields = vec![("environment-variable", text)];
            notices.push(notice(
                Level::Warn,
                "unrecognized environment variable",
                fields,
            ));
            continue;
        };
        if line.iter().any(|given| given.flag.name == flag.name) {
            conflict = conflict.or_else(|| Some(name.clone()));
        } else if !value.is_empty() {
            let refused = |reason| {
                ConfigError::Invalid(format!("invalid value {value:?} for {name}: {reason}"))
            };
            flag.set(config, value).map_err(refused)?;
            let fields = vec![
                ("variable-name", name.clone()),
                ("variable-value", shown(flag.name, value).to_owned()),
            ];
            let message = "recognized and used environment variable";
            notices.push(notice(Level::Info, message, fields));
        }
    }
    conflict.map_or(Ok(()), |name| Err(ConfigError::Conflict(name)))
}
