//! The command line, by the rules of Go's flag package: `-f`, `--f`, `--f=v`, `--f v`.

use super::flags::{self, Flag, Kind};

/// A flag with the value it was given.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) flag: &'static Flag,
    pub(super) value: String,
}

/// What stands on the command line.
#[derive(Default)]
pub(super) struct CommandLine {
    pub(super) given: Vec<Given>,
    pub(super) help: bool,
    /// The first argument that is no flag.
    pub(super) positional: Option<String>,
}

/// Splits the arguments (without the program's name). The error is Go's text; the usage follows it.
pub(super) fn parse(arguments: &[String]) -> Result<CommandLine, String> {
    let mut line = CommandLine::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let Some(name) = argument.strip_prefix('-').filter(|name| !name.is_empty()) else {
            line.positional = Some(argument.clone());
            return Ok(line);
        };
        if name == "-" {
            line.positional = rest.next().cloned();
            return Ok(line);
        }
        let name = name.strip_prefix('-').unwrap_or(name);
        if name.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {argument}"));
        }
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (name, None),
        };
        let Some(flag) = flags::find(name) else {
            if name == "help" || name == "h" {
                line.help = true;
                return Ok(line);
            }
            return Err(format!("flag provided but not defined: -{name}"));
        };
        let switch = flag.kind.is_switch() || flag.name == "version";
        let value = match value {
            Some(value) => value,
            None if switch => "true".to_owned(),
            None => {
                let next = rest.next().cloned();
                next.ok_or_else(|| format!("flag needs an argument: -{name}"))?
            }
        };
        line.given.push(Given { flag, value });
    }
    Ok(line)
}

/// The text of a value that a flag refuses.
pub(super) fn refused(given: &Given, reason: &str) -> String {
    let (name, value) = (given.flag.name, &given.value);
    if let Kind::Switch(_) = given.flag.kind {
        return format!("invalid boolean value {value:?} for -{name}: {reason}");
    }
    format!("invalid value {value:?} for flag -{name}: {reason}")
}
