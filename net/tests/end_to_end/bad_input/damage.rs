//! A damaged file of the store: the server starts only if it has everything that was acknowledged; else it names the file
//! and the place, ends with 1, and changes nothing.
//!
//! The parsers have their own tests with every byte of small files; this test is about what the process does.

use std::fs;
use std::path::{Path, PathBuf};

use super::refusals::contents;
use crate::support::grpc::Client;
use crate::support::programs::only_for_reeve;
use crate::support::random::Random;
use crate::support::server::{Launch, Server};
use crate::support::{notice, run, setting, turn};

const KEYS: u64 = 3000;

fn value(number: u64) -> Vec<u8> {
    format!("value {number} ").repeat(20).into_bytes()
}

async fn write(server: &Server) {
    let mut client = Client::connect(&server.endpoint()).await;
    for number in 0..KEYS {
        let key = format!("key {}", number % (KEYS / 2));
        client
            .put(key.as_bytes(), &value(number))
            .await
            .expect("a put");
    }
}

/// Whether everything is there as it was written.
async fn complete(server: &Server) -> bool {
    let mut client = Client::connect(&server.endpoint()).await;
    for number in KEYS / 2..KEYS {
        let key = format!("key {}", number % (KEYS / 2));
        let answer = client.get(key.as_bytes()).await.expect("a get");
        let right = answer.kvs.first().is_some_and(|pair| {
            pair.value == value(number) && pair.mod_revision == number as i64 + 2
        });
        if !right {
            return false;
        }
    }
    true
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let found = contents(folder).into_iter();
    found
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(path, _)| path)
        .collect()
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in contents(from) {
        let target = to.join(path.strip_prefix(from).expect("below the folder"));
        if path.is_dir() {
            fs::create_dir_all(&target).expect("a folder");
        } else {
            fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
            fs::write(&target, bytes).expect("a file");
        }
    }
}

/// Places worth damaging: every used stretch of 4 KiB has the same chance.
fn places(bytes: &[u8], count: u64, random: &mut Random) -> Vec<usize> {
    let used: Vec<usize> = (0..bytes.len())
        .step_by(512)
        .filter(|start| {
            bytes[*start..bytes.len().min(start + 512)]
                .iter()
                .any(|byte| *byte != 0)
        })
        .collect();
    let place = |random: &mut Random| {
        let start = *random.pick(&used);
        let length = bytes.len().min(start + 512) - start;
        start + random.below(length as u64) as usize
    };
    let mut places = vec![0];
    places.extend((0..count).map(|_| place(random)));
    places
}

fn damaged_starts(clean: bool) {
    let mut random = Random::announced("damage");
    let mut server = Launch::under_test().start();
    run(write(&server));
    if clean {
        server.terminate();
    } else {
        server.kill();
    }
    let original = server.data_dir().to_path_buf();
    let (mut refused, mut survived) = (0, 0);
    let per_file = setting("REEVE_DAMAGE_PER_FILE", 4);
    for file in files(&original) {
        let bytes = fs::read(&file).expect("the file is readable");
        for place in places(&bytes, per_file, &mut random) {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
            let data = folder.path().join("data");
            copy(&original, &data);
            let target = data.join(file.strip_prefix(&original).expect("below the folder"));
            let mut changed = bytes.clone();
            changed[place] ^= 1 << random.below(8);
            fs::write(&target, changed).expect("the file is writable");
            if starts_complete_or_refuses(server.launch().data_dir(&data), &target, place) {
                survived += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "no damage was noticed");
    notice(&format!(
        "damage: clean stop {clean}: {refused} starts refused by name, {survived} with everything in place"
    ));
}

/// Whether the server started and had everything; a refusal must name the file and the place and change nothing.
fn starts_complete_or_refuses(launch: Launch, file: &Path, place: usize) -> bool {
    let data = launch.folder().to_path_buf();
    let before = contents(&data);
    let mut server = launch.spawn();
    if server.becomes_ready() {
        assert!(
            run(complete(&server)),
            "{}: byte {place} was changed, and data is lost",
            file.display()
        );
        return true;
    }
    let refusal = server.refusal();
    assert_eq!(refusal.code, Some(1), "{}", refusal.stderr);
    let name = file.file_name().expect("a name").to_string_lossy();
    let wanted = format!("{}.*(byte|page) [0-9]+", regex::escape(&name));
    assert!(
        regex::Regex::new(&wanted)
            .expect("a pattern")
            .is_match(&refusal.stderr),
        "{}: byte {place}: does not name the file and the place:\n{}",
        file.display(),
        refusal.stderr
    );
    let after = contents(&data);
    assert!(
        before == after,
        "{}: byte {place}: files changed",
        file.display()
    );
    false
}

#[test]
fn damage_after_a_clean_stop() {
    let _turn = turn::shared();
    if only_for_reeve("damage_after_a_clean_stop") {
        damaged_starts(true);
    }
}

#[test]
fn damage_after_a_kill() {
    let _turn = turn::shared();
    if only_for_reeve("damage_after_a_kill") {
        damaged_starts(false);
    }
}
