//! Reads a script; `mod.rs` describes the form.

use std::path::Path;

/// A script in its order.
pub struct Script {
    pub steps: Vec<Step>,
}

/// One step, with the line of the file it stands on.
pub struct Step {
    pub line: usize,
    pub text: String,
    pub action: Action,
}

/// What a step does.
pub enum Action {
    Run { words: Vec<String>, input: String },
    Name { name: String, pattern: String },
    Start { name: String, words: Vec<String> },
    Feed { name: String, input: String },
    Await { name: String, lines: usize },
    Stop { name: String },
    Finish { name: String },
    Drop { name: String },
    Pause { milliseconds: u64 },
    Strike { what: String },
}

impl Script {
    /// Reads a script; a mistake in it is a panic that names the line.
    pub fn read(path: &Path) -> Script {
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut steps: Vec<Step> = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            let place = || format!("{}:{line}: {text}", path.display());
            let (mark, rest) = text.split_at(text.len().min(1));
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            match mark {
                "" | "#" => continue,
                "|" => match steps.last_mut().map(|step| &mut step.action) {
                    Some(Action::Run { input, .. }) => {
                        input.push_str(rest);
                        input.push('\n');
                    }
                    _ => panic!("{}: no command takes this input", place()),
                },
                _ => steps.push(Step {
                    line,
                    text: text.to_string(),
                    action: action(mark, rest).unwrap_or_else(|| panic!("{}: not a step", place())),
                }),
            }
        }
        Script { steps }
    }
}

fn action(mark: &str, rest: &str) -> Option<Action> {
    let named = || rest.split_once(' ').unwrap_or((rest, ""));
    Some(match mark {
        "$" => Action::Run {
            words: words(rest)?,
            input: String::new(),
        },
        ">" => {
            let (name, pattern) = named();
            Action::Name {
                name: name.to_string(),
                pattern: pattern.to_string(),
            }
        }
        "&" => {
            let (name, command) = named();
            Action::Start {
                name: name.to_string(),
                words: words(command)?,
            }
        }
        "<" => {
            let (name, input) = named();
            Action::Feed {
                name: name.to_string(),
                input: format!("{input}\n"),
            }
        }
        "@" => {
            let (name, lines) = named();
            Action::Await {
                name: name.to_string(),
                lines: lines.parse().ok()?,
            }
        }
        "!" => Action::Stop {
            name: rest.to_string(),
        },
        "-" => Action::Drop {
            name: rest.to_string(),
        },
        "=" => Action::Finish {
            name: rest.to_string(),
        },
        "~" => Action::Pause {
            milliseconds: rest.parse().ok()?,
        },
        "%" => Action::Strike {
            what: rest.to_string(),
        },
        _ => return None,
    })
}

/// Splits at spaces outside double quotes; `\xNN` stands for a byte below 128, `\"` for a quote. None if a quote is open.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            '\\' => {
                let escaped = match letters.next()? {
                    'x' => {
                        let digits: String = letters.by_ref().take(2).collect();
                        u8::from_str_radix(&digits, 16).ok()?.into()
                    }
                    other => other,
                };
                word.get_or_insert_default().push(escaped);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    (!quoted).then_some(words)
}
