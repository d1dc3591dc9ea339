//! The mark on the data directory of a member that was found to differ from the others: it must not serve again.

use super::entrance_file::write_durably;
use std::io;
use std::path::Path;

/// Its name in the directory `member`.
const NAME: &str = "reeve.fenced";

/// Leaves the mark, with the reason for whoever finds it.
///
/// # Errors
/// Those of the disk.
pub(super) fn mark(member: &Path, reason: &str) -> io::Result<()> {
    write_durably(&member.join(NAME), format!("{reason}\n").as_bytes())
}

/// Refuses a directory with the mark.
///
/// # Errors
/// The reason, and what to do.
pub(super) fn check(member: &Path) -> Result<(), String> {
    let path = member.join(NAME);
    match std::fs::read_to_string(&path) {
        Ok(reason) => Err(format!(
            "{}: {}. This member does not serve again with this data: build it anew from the others with `reeve rebuild` \
             and the flags of this start",
            path.display(),
            reason.trim_end()
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_directory_is_refused_with_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(check(directory.path()), Ok(()));
        mark(directory.path(), "it differs at entry 7").unwrap();
        let refused = check(directory.path()).unwrap_err();
        assert!(refused.contains("it differs at entry 7"), "{refused}");
        assert!(refused.contains("reeve rebuild"), "{refused}");
    }
}
