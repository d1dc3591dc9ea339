//! What was made of files, for as long as they stay as they are.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that was changed this lately may be changed again without a trace: clocks of file systems move in steps. (git
/// meets the same with files that are as new as its index.)
const SETTLED: Duration = Duration::from_secs(2);

/// By what a file is known again. Whoever writes to it, or puts another in its place, changes one of these: the time of
/// the last change cannot be set by anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// What stands in files, read anew when they have changed. Their number is bounded by whoever asks.
pub(super) struct Remembered<T>(Mutex<Known<T>>);

type Known<T> = BTreeMap<Vec<PathBuf>, (Vec<Stamp>, Arc<T>)>;

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Remembered(Mutex::default())
    }
}

impl<T> fmt::Debug for Remembered<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is remembered may be secret.
        to.write_str("Remembered")
    }
}

impl<T> Remembered<T> {
    /// What `read` makes of these files, now or before. Blocks.
    ///
    /// # Errors
    /// Those of `read`; nothing is remembered then.
    pub(super) fn get(
        &self,
        paths: &[&Path],
        read: impl FnOnce() -> Result<T, String>,
    ) -> Result<Arc<T>, String> {
        self.get_at(paths, SystemTime::now(), read)
    }

    fn get_at(
        &self,
        paths: &[&Path],
        now: SystemTime,
        read: impl FnOnce() -> Result<T, String>,
    ) -> Result<Arc<T>, String> {
        // Before they are read: a file that is changed meanwhile has another stamp the next time.
        let stamps: Option<Vec<Stamp>> = paths.iter().map(|path| Stamp::of(path, now)).collect();
        let key: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(stamps), Some((last, value))) = (&stamps, known().get(&key))
            && last == stamps
        {
            return Ok(Arc::clone(value));
        }
        let value = read().map(Arc::new);
        match (stamps, &value) {
            (Some(stamps), Ok(value)) => known().insert(key, (stamps, Arc::clone(value))),
            _ => known().remove(&key),
        };
        value
    }
}

impl Stamp {
    /// That of a file which is there, and has been as it is for some time.
    fn of(path: &Path, now: SystemTime) -> Option<Stamp> {
        let known = fs::metadata(path).ok()?;
        let now = now.duration_since(UNIX_EPOCH).ok()?;
        let changed = Duration::from_secs(u64::try_from(known.ctime()).ok()?);
        let is_settled = now.saturating_sub(changed) > SETTLED;
        is_settled.then(|| Stamp {
            device: known.dev(),
            inode: known.ino(),
            bytes: known.size(),
            changed: (known.ctime(), known.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn files_are_read_again_only_when_they_have_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        let write = |path: &Path, text: &str| {
            // The clock of the file system moves in steps of some milliseconds.
            std::thread::sleep(Duration::from_millis(20));
            fs::write(path, text).unwrap();
        };
        write(&one, "a");
        write(&other, "b");
        let remembered = Remembered::default();
        let reads = Cell::new(0);
        let get = |now: SystemTime| {
            remembered.get_at(&[&one, &other], now, || {
                reads.set(reads.get() + 1);
                let both = [&one, &other].map(fs::read_to_string);
                let [one, other] = both.map(|text| text.map_err(|error| error.to_string()));
                Ok(one? + &other?)
            })
        };
        let later = || SystemTime::now() + Duration::from_secs(60);
        let read = |now: SystemTime, text: &str, count: u32| {
            assert_eq!(*get(now).unwrap(), text);
            assert_eq!(reads.get(), count);
        };
        // They are new, and what is remembered might be outdated at once.
        read(SystemTime::now(), "ab", 1);
        read(SystemTime::now(), "ab", 2);
        read(later(), "ab", 3);
        read(later(), "ab", 3);
        // As long as before.
        write(&other, "c");
        read(later(), "ac", 4);
        read(later(), "ac", 4);
        // Another file in its place, which looks older.
        let third = folder.path().join("third");
        write(&third, "d");
        let long_ago = UNIX_EPOCH + Duration::from_secs(1000);
        let file = fs::File::options().write(true).open(&third).unwrap();
        file.set_modified(long_ago).unwrap();
        fs::rename(&third, &one).unwrap();
        read(later(), "dc", 5);
        fs::remove_file(&one).unwrap();
        assert!(get(later()).is_err());
        write(&one, "d");
        read(later(), "dc", 7);
        read(later(), "dc", 7);
        assert!(!format!("{remembered:?}").contains("dc"));
    }
}
