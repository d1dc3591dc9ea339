//! `deploy/Procfile`: each line after the name is given to a shell, as process managers do.

use std::process::Stdio;

use super::host::Host;
use super::{Processes, assert_one_cluster, file, folder_with_reeve, path_with};
use crate::members::forms_clusters;
use crate::support::turn;

#[test]
fn the_procfile_starts_three_members() {
    let _turn = turn::shared();
    if !forms_clusters("the_procfile_starts_three_members") {
        return;
    }
    let Some(host) = Host::alone("the_procfile_starts_three_members") else {
        return;
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = path_with(&folder_with_reeve(folder.path()));
    let text = file("Procfile");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut processes = Processes::default();
    let mut endpoints = Vec::new();
    for line in lines {
        let (_, command) = line.split_once(": ").expect("a name and a command");
        let url = command
            .split_whitespace()
            .skip_while(|word| *word != "--advertise-client-urls")
            .nth(1);
        let endpoint = url.and_then(|url| url.strip_prefix("http://"));
        endpoints.push(endpoint.expect("an advertised URL").to_string());
        let child = host
            .shell(&format!("exec {command}"))
            .current_dir(folder.path())
            .env("PATH", &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        processes.0.push(child.expect("a shell"));
    }
    assert_eq!(endpoints.len(), 3, "{text}");
    host.within(|| assert_one_cluster(&endpoints));
    drop(processes);
    // Each has its own data, called after it.
    for name in ["reeve1", "reeve2", "reeve3"] {
        let data = folder.path().join(format!("{name}.etcd"));
        assert!(data.is_dir(), "{} is missing", data.display());
    }
}
