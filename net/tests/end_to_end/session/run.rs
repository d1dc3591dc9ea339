//! Carries out a script against one server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use regex::Regex;

use super::mask::Mask;
use super::order;
use super::script::{Action, Script, Step};
use crate::support::etcdctl::{Answer, Background, Etcdctl};
use crate::support::server::Server;

/// How long `@` and `=` wait before the difference is left to show itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// What each step gave, with what may differ hidden.
pub struct Transcript {
    steps: Vec<Shown>,
    /// Commands that were ended before or after they had printed what the script waits for.
    pub mistakes: Vec<String>,
}

/// One step and what it gave, with what may differ hidden.
struct Shown {
    line: usize,
    text: String,
    stdout: String,
    stderr: String,
    code: String,
}

impl Transcript {
    /// A text for each step that differs.
    pub fn differences(&self, other: &Transcript) -> Vec<String> {
        assert_eq!(self.steps.len(), other.steps.len(), "one script");
        let pairs = self.steps.iter().zip(&other.steps);
        pairs
            .filter_map(|(expected, actual)| {
                let mut out = String::new();
                difference(&mut out, "stdout", &expected.stdout, &actual.stdout);
                difference(&mut out, "stderr", &expected.stderr, &actual.stderr);
                difference(&mut out, "exit code", &expected.code, &actual.code);
                (!out.is_empty())
                    .then(|| format!("line {}: {}\n{out}", expected.line, expected.text))
            })
            .collect()
    }
}

fn difference(out: &mut String, what: &str, expected: &str, actual: &str) {
    if expected == actual {
        return;
    }
    let (expected, actual): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), actual.lines().collect());
    let same_before = expected
        .iter()
        .zip(&actual)
        .take_while(|(a, b)| a == b)
        .count();
    let rest = expected.len().min(actual.len()) - same_before;
    let same_after = (1..=rest)
        .take_while(|&back| expected[expected.len() - back] == actual[actual.len() - back])
        .count();
    out.push_str(&format!("  {what}, from line {}:\n", same_before + 1));
    for line in &expected[same_before..expected.len() - same_after] {
        out.push_str(&format!("    - {line}\n"));
    }
    for line in &actual[same_before..actual.len() - same_after] {
        out.push_str(&format!("    + {line}\n"));
    }
}

/// What a script runs against.
pub trait Subject {
    /// Where etcdctl finds it.
    fn endpoints(&self) -> String;
    /// Hides what may differ; the script adds the names that it gives.
    fn mask(&self, etcdctl: &Etcdctl) -> Mask;
    /// Names that a script may use without having found them; what they stand for is the same on both sides.
    fn names(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    /// Carries out a `%` step.
    fn strike(&mut self, what: &str);
    /// Fails if a server has ended that should run.
    fn assert_lives(&mut self);
}

impl Subject for Server {
    fn endpoints(&self) -> String {
        self.endpoint()
    }

    fn mask(&self, etcdctl: &Etcdctl) -> Mask {
        let mut mask = Mask::new(self.client_port(), self.peer_port());
        let [header] = headers(etcdctl).try_into().expect("one server");
        mask.hide_identifiers(header.0, header.1);
        mask
    }

    fn strike(&mut self, what: &str) {
        panic!("nothing called {what} can be done to one server");
    }

    fn assert_lives(&mut self) {
        assert!(self.lives(), "the server ended:\n{}", self.printed());
    }
}

/// The identifiers of the cluster and of the member, as each server that etcdctl asks says them.
pub fn headers(etcdctl: &Etcdctl) -> Vec<(u64, u64)> {
    let words = ["endpoint", "status", "-w", "json"].map(String::from);
    let answer = etcdctl.run(&words, "");
    let statuses: serde_json::Value = serde_json::from_slice(&answer.stdout)
        .unwrap_or_else(|error| panic!("endpoint status: {error}: {answer:?}"));
    let statuses = statuses.as_array().expect("a list of statuses");
    let header = |status: &serde_json::Value| {
        let identifier = |field: &str| {
            status["Status"]["header"][field]
                .as_u64()
                .unwrap_or_else(|| panic!("endpoint status without {field}: {status}"))
        };
        (identifier("cluster_id"), identifier("member_id"))
    };
    statuses.iter().map(header).collect()
}

/// The state of one run.
struct Run<S> {
    etcdctl: Etcdctl,
    mask: Mask,
    names: BTreeMap<String, String>,
    background: BTreeMap<String, Background>,
    /// The lines that were last waited for, by the name of the command.
    awaited: BTreeMap<String, usize>,
    mistakes: Vec<String>,
    /// The last output as it came, for `>`.
    last: String,
    /// Stops the server at the end.
    subject: S,
}

/// Runs all steps against a server, or a cluster.
pub fn run(script: &Script, subject: impl Subject, etcdctl: PathBuf) -> Transcript {
    let etcdctl = Etcdctl {
        program: etcdctl,
        endpoint: subject.endpoints(),
    };
    let mut run = Run {
        mask: subject.mask(&etcdctl),
        etcdctl,
        names: subject.names(),
        background: BTreeMap::new(),
        awaited: BTreeMap::new(),
        mistakes: Vec::new(),
        last: String::new(),
        subject,
    };
    let steps: Vec<_> = script
        .steps
        .iter()
        .filter_map(|step| Some((step, run.step(step)?)))
        .collect();
    run.subject.assert_lives();
    // Names are found after the step that shows them first, so the masks are complete only now.
    let shown = |(step, answer): (&Step, Answer)| Shown {
        line: step.line,
        text: step.text.clone(),
        stdout: run.mask.apply(&answer.stdout),
        stderr: run.mask.apply(&answer.stderr),
        code: format!("{:?}", answer.code),
    };
    Transcript {
        steps: steps.into_iter().map(shown).collect(),
        mistakes: run.mistakes.clone(),
    }
}

impl<S: Subject> Run<S> {
    /// One step; what it printed, if that is compared.
    fn step(&mut self, step: &Step) -> Option<Answer> {
        match &step.action {
            Action::Run { words, input } => {
                let words = self.filled(words);
                let mut answer = self.etcdctl.run(&words, &self.fill(input));
                answer.stdout = order::settled(&words, answer.stdout);
                self.last = String::from_utf8_lossy(&answer.stdout).into_owned();
                return Some(answer);
            }
            Action::Name { name, pattern } => self.name(step.line, name, pattern),
            Action::Start { name, words } => {
                let started = self.etcdctl.start(&self.filled(words));
                self.background.insert(name.clone(), started);
            }
            Action::Feed { name, input } => {
                let input = self.fill(input);
                self.running(step.line, name).feed(&input);
            }
            Action::Await { name, lines } => {
                if !self.running(step.line, name).await_lines(*lines, PATIENCE) {
                    let mistake = format!("line {}: they did not come: {}", step.line, step.text);
                    self.mistakes.push(mistake);
                }
                self.awaited.insert(name.clone(), *lines);
            }
            Action::Stop { name } => return self.stop(step.line, name),
            Action::Drop { name } => {
                self.running(step.line, name);
                self.background.remove(name).map(Background::stop);
            }
            Action::Finish { name } => {
                self.running(step.line, name);
                let finished = self.background.remove(name)?.finish(PATIENCE);
                if finished.code.is_none() {
                    let mistake = format!("line {}: it does not end: {}", step.line, step.text);
                    self.mistakes.push(mistake);
                }
                return Some(finished);
            }
            Action::Strike { what } => {
                self.subject.strike(what);
                self.etcdctl.endpoint = self.subject.endpoints();
            }
            Action::Pause { milliseconds } => thread::sleep(Duration::from_millis(*milliseconds)),
        }
        None
    }

    /// Ends a command. If it printed more lines than were waited for, it was by chance that they were there in time.
    fn stop(&mut self, line: usize, name: &str) -> Option<Answer> {
        self.running(line, name);
        let answer = self.background.remove(name).map(Background::stop)?;
        let awaited = self.awaited.remove(name).unwrap_or(0);
        let printed = answer.stdout.split_inclusive(|byte| *byte == b'\n').count();
        if awaited != printed {
            self.mistakes.push(format!(
                "line {line}: {awaited} lines of {name} were waited for, and it has printed {printed}"
            ));
        }
        Some(answer)
    }

    fn name(&mut self, line: usize, name: &str, pattern: &str) {
        let pattern = Regex::new(pattern).expect("a pattern");
        let found = pattern.captures(&self.last).and_then(|found| found.get(1));
        // Without a match the step before differs already, and later steps show the name.
        let value = found.map_or_else(
            || format!("line {line} found no {name}"),
            |found| found.as_str().to_string(),
        );
        self.mask.hide(&value, name);
        if let Ok(number) = u64::from_str_radix(&value, 16) {
            self.mask.hide(&number.to_string(), name);
        }
        self.names.insert(name.to_string(), value);
    }

    fn running(&mut self, line: usize, name: &str) -> &mut Background {
        self.background
            .get_mut(name)
            .unwrap_or_else(|| panic!("line {line}: nothing called {name} runs"))
    }

    fn fill(&self, text: &str) -> String {
        let fill = |text: String, (name, value): (&String, &String)| {
            text.replace(&format!("{{{name}}}"), value)
        };
        self.names.iter().fold(text.to_string(), fill)
    }

    fn filled(&self, words: &[String]) -> Vec<String> {
        words.iter().map(|word| self.fill(word)).collect()
    }
}
