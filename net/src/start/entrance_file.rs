//! The note of how a member came into its cluster, beside its log.
//!
//! The log tells who a member is from the moment on at which it exists, but with whom it began only once the first entries are
//! in it. A member that is stopped in between goes on from this note: the flags may not tell again what a search has found.
//! Afterwards the note tells that there was a log, should it be lost.

use super::entrance::{Entrance, Rebuilt};
use crate::http::peer::{read_listing, write_listing};
use serde_json::Value;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Its name in the directory `member`.
const NAME: &str = "reeve.entrance";

/// The name of what a rebuild notes before it changes anything, in the directory that it prepares.
const PLAN_NAME: &str = "reeve.rebuild";

/// The version of its form.
const VERSION: u64 = 1;

/// A note cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    /// The disk refuses.
    #[error("{path}: {source}")]
    Disk {
        /// The note.
        path: String,
        /// What the system answered.
        source: io::Error,
    },
    /// It is damaged.
    #[error("{path}: {why}")]
    Unreadable {
        /// The note.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Entrance {
    /// Writes the note; it is durable when this returns.
    ///
    /// # Errors
    /// [`NoteError::Disk`].
    pub fn note(&self, directory: &Path) -> Result<(), NoteError> {
        self.write(&directory.join(NAME))
    }

    /// Notes that the member has a log from now on, unless that is noted there already.
    ///
    /// # Errors
    /// [`NoteError::Disk`].
    pub fn note_begun(&self, directory: &Path) -> Result<(), NoteError> {
        let is_noted = |noted: &Entrance| {
            noted.begun && noted.cluster == self.cluster && noted.member == self.member
        };
        // One that cannot be read is of no use either.
        if Self::noted(directory).is_ok_and(|noted| noted.as_ref().is_some_and(is_noted)) {
            return Ok(());
        }
        let begun = Entrance {
            begun: true,
            ..self.clone()
        };
        begun.note(directory)
    }

    /// Reads the note, if there is one.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn noted(directory: &Path) -> Result<Option<Self>, NoteError> {
        Self::read(&directory.join(NAME))
    }

    /// Writes down what a rebuild is about to do; it is durable when this returns. The id is that of the member that is
    /// replaced.
    ///
    /// # Errors
    /// [`NoteError::Disk`].
    pub(super) fn plan(&self, directory: &Path) -> Result<(), NoteError> {
        self.write(&directory.join(PLAN_NAME))?;
        // That of an earlier rebuild, whose place this one does not take.
        remove(&directory.join(NAME))
    }

    /// Writes the note of what a rebuild has done, in the place of its plan; it is durable when this returns.
    ///
    /// # Errors
    /// [`NoteError::Disk`].
    pub(super) fn note_instead_of_plan(&self, directory: &Path) -> Result<(), NoteError> {
        self.note(directory)?;
        remove(&directory.join(PLAN_NAME))
    }

    /// What a rebuild has prepared in this directory and not brought to its end: its note, or else its plan.
    ///
    /// # Errors
    /// [`NoteError`].
    pub(super) fn prepared(directory: &Path) -> Result<Option<Self>, NoteError> {
        match Self::noted(directory)? {
            Some(noted) => Ok(Some(noted)),
            None => Self::read(&directory.join(PLAN_NAME)),
        }
    }

    fn write(&self, path: &Path) -> Result<(), NoteError> {
        write_durably(path, self.to_text().as_bytes()).map_err(|source| NoteError::Disk {
            path: path.display().to_string(),
            source,
        })
    }

    fn read(path: &Path) -> Result<Option<Self>, NoteError> {
        let shown = || path.display().to_string();
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(NoteError::Disk {
                    path: shown(),
                    source,
                });
            }
        };
        let read = Self::from_text(&text);
        let read = read.map_err(|why| NoteError::Unreadable { path: shown(), why });
        read.map(Some)
    }

    fn to_text(&self) -> String {
        let list = |records| write_listing(records).trim_end().to_owned();
        let rebuilt = match self.rebuilt {
            None => "null",
            Some(Rebuilt::Voter) => "\"voter\"",
            Some(Rebuilt::Learner) => "\"learner\"",
        };
        format!(
            "{{\"version\":{VERSION},\"cluster\":\"{:x}\",\"member\":\"{:x}\",\"rebuilt\":{rebuilt},\"begun\":{},\n\"founders\":{},\n\"peers\":{}}}\n",
            self.cluster,
            self.member,
            self.begun,
            list(&self.founders),
            list(&self.peers),
        )
    }

    fn from_text(text: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if value.get("version").and_then(Value::as_u64) != Some(VERSION) {
            return Err("it was written by another release".to_owned());
        }
        let id = |name: &str| {
            let text = value.get(name).and_then(Value::as_str);
            let id = text.and_then(|text| u64::from_str_radix(text, 16).ok());
            id.ok_or_else(|| format!("{name} is no id"))
        };
        let list = |name: &str| {
            let list = value.get(name).unwrap_or(&Value::Null).to_string();
            read_listing(list.as_bytes()).map_err(|error| format!("{name}: {error}"))
        };
        let rebuilt = match value.get("rebuilt") {
            Some(Value::Null) => None,
            Some(Value::String(role)) if role == "voter" => Some(Rebuilt::Voter),
            Some(Value::String(role)) if role == "learner" => Some(Rebuilt::Learner),
            _ => return Err("it does not tell whether the member was rebuilt".to_owned()),
        };
        let begun = match value.get("begun") {
            // As written by early releases.
            None => false,
            Some(begun) => begun
                .as_bool()
                .ok_or("it does not tell whether there was a log")?,
        };
        Ok(Entrance {
            cluster: id("cluster")?,
            member: id("member")?,
            rebuilt,
            begun,
            founders: list("founders")?,
            peers: list("peers")?,
        })
    }
}

/// Removes a file, if it is there, for good.
fn remove(path: &Path) -> Result<(), NoteError> {
    let removed = match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.and_then(|()| sync_parent(path)),
    };
    removed.map_err(|source| NoteError::Disk {
        path: path.display().to_string(),
        source,
    })
}

/// Makes what has happened to the names in a file's directory durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes a file under another name, and gives it its own when it is durable.
pub(super) fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    let mut file = File::create(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    sync_parent(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reeve_node::MemberRecord;

    fn entrance() -> Entrance {
        let member = |id: u64, name: &str| MemberRecord {
            name: name.to_owned(),
            peer_urls: vec![format!("http://10.0.0.{}:2380", id % 7)],
            ..MemberRecord::bare(id)
        };
        Entrance {
            cluster: u64::MAX,
            member: 1,
            founders: vec![member(1, "a"), member(0xffff_ffff_ffff, "")],
            peers: vec![member(1, "a")],
            rebuilt: Some(Rebuilt::Voter),
            begun: false,
        }
    }

    #[test]
    fn what_was_noted_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Entrance::noted(directory.path()).unwrap(), None);
        for rebuilt in [None, Some(Rebuilt::Voter), Some(Rebuilt::Learner)] {
            let entrance = Entrance {
                rebuilt,
                ..entrance()
            };
            entrance.note(directory.path()).unwrap();
            let noted = Entrance::noted(directory.path()).unwrap();
            assert_eq!(noted, Some(entrance));
        }
    }

    #[test]
    fn a_note_tells_that_there_was_a_log() {
        let directory = tempfile::tempdir().unwrap();
        let noted = || Entrance::noted(directory.path()).unwrap().unwrap();
        entrance().note(directory.path()).unwrap();
        assert!(!noted().begun);
        noted().note_begun(directory.path()).unwrap();
        let begun = Entrance {
            begun: true,
            ..entrance()
        };
        assert_eq!(noted(), begun);
        // A note that is missing, damaged or of another member is made good by a member that returns.
        let path = directory.path().join(NAME);
        let other = Entrance {
            member: 9,
            ..begun.clone()
        };
        for bad in [None, Some("damaged"), Some(&*other.to_text())] {
            let spoilt = match bad {
                None => std::fs::remove_file(&path),
                Some(text) => std::fs::write(&path, text),
            };
            spoilt.unwrap();
            begun.note_begun(directory.path()).unwrap();
            assert_eq!(noted(), begun);
        }
        // Of an early release.
        let old = entrance().to_text().replace("\"begun\":false,", "");
        assert_eq!(Entrance::from_text(old.as_bytes()), Ok(entrance()));
    }

    #[test]
    fn what_a_rebuild_has_done_counts_more_than_what_it_planned() {
        let directory = tempfile::tempdir().unwrap();
        let prepared = || Entrance::prepared(directory.path()).unwrap();
        let noted = || Entrance::noted(directory.path()).unwrap();
        assert_eq!(prepared(), None);
        entrance().plan(directory.path()).unwrap();
        assert_eq!((prepared(), noted()), (Some(entrance()), None));
        let done = Entrance {
            member: 9,
            ..entrance()
        };
        done.note_instead_of_plan(directory.path()).unwrap();
        assert_eq!(prepared(), Some(done));
        // Once more, for another one.
        entrance().plan(directory.path()).unwrap();
        assert_eq!((prepared(), noted()), (Some(entrance()), None));
    }

    #[test]
    fn a_damaged_note_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let whole = entrance().to_text();
        for bad in [
            "",
            "{}",
            "nonsense",
            &whole[..whole.len() / 2],
            &whole.replace("\"version\":1", "\"version\":2"),
            &whole.replace("\"begun\":false", "\"begun\":1"),
            &whole.replace("\"cluster\":\"f", "\"cluster\":\"z"),
        ] {
            std::fs::write(directory.path().join(NAME), bad).unwrap();
            let refused = Entrance::noted(directory.path()).unwrap_err().to_string();
            assert!(refused.contains(NAME), "{refused}");
        }
    }
}
