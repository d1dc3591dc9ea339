//! `deploy/compose.yaml`: each service's command runs on a host of its own that knows the others by the services' names, with
//! the volume's folder where the command expects it.

use std::process::Stdio;

use yaml_rust2::{Yaml, YamlLoader};

use super::host::{Host, address};
use super::{Processes, assert_one_cluster, file, folder_with_reeve, path_with};
use crate::members::forms_clusters;
use crate::support::turn;

/// A service as the test needs it.
struct Service {
    name: String,
    command: Vec<String>,
    /// Where its volume is mounted.
    mounted: String,
}

fn services() -> Vec<Service> {
    let documents = YamlLoader::load_from_str(&file("compose.yaml")).expect("YAML");
    let services = documents[0]["services"].as_hash().expect("services");
    let text = |yaml: &Yaml| yaml.as_str().expect("a text").to_string();
    let service = |(name, service): (&Yaml, &Yaml)| {
        let volume = text(&service["volumes"][0]);
        let (_, mounted) = volume.split_once(':').expect("a volume and a place");
        let command = service["command"].as_vec().expect("a list of words");
        Service {
            name: text(name),
            command: command.iter().map(text).collect(),
            mounted: mounted.to_string(),
        }
    };
    services.iter().map(service).collect()
}

#[test]
fn the_compose_file_starts_three_members() {
    let _turn = turn::shared();
    if !forms_clusters("the_compose_file_starts_three_members") {
        return;
    }
    let services = services();
    let names: Vec<&str> = services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names.len(), 3);
    let Some(hosts) = Host::several("the_compose_file_starts_three_members", &names) else {
        return;
    };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = path_with(&folder_with_reeve(folder.path()));
    let mut processes = Processes::default();
    let mut endpoints = Vec::new();
    for (number, (service, host)) in services.iter().zip(&hosts).enumerate() {
        let volume = folder.path().join(&service.name);
        std::fs::create_dir(&volume).expect("a folder");
        // Nobody else sees these mounts: `ip netns exec` gives its command a mount namespace of its own.
        let script = r#"mount -t tmpfs none "$(dirname "$MOUNTED")" && mkdir "$MOUNTED" &&
            mount --bind "$VOLUME" "$MOUNTED" && exec "$@""#;
        let child = host
            .shell(script)
            .arg("sh")
            .args(&service.command)
            .env("PATH", &path)
            .env("VOLUME", &volume)
            .env("MOUNTED", &service.mounted)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        processes.0.push(child.expect("a shell"));
        endpoints.push(format!("{}:2379", address(number)));
    }
    let outside = hosts.last().expect("a host that reaches them all");
    outside.within(|| assert_one_cluster(&endpoints));
    for service in &services {
        let data = folder.path().join(&service.name).join("data");
        assert!(data.is_dir(), "{} has kept nothing", service.name);
    }
}

/// What a container needs beside the command, without which the server does not start.
#[test]
fn the_compose_file_lets_io_uring_through() {
    let text = file("compose.yaml");
    assert!(text.contains("seccomp:./seccomp.json"), "{text}");
    assert!(text.contains("memlock: -1"), "{text}");
}
