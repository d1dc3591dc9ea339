//! Members from the records of a name server of this process.

use super::super::dns::dns_test::{Manners, NameServer, Record};
use super::*;

/// Hosts of the tests have one address each.
fn addresses(host: &str, port: u16) -> Result<BTreeSet<SocketAddr>, String> {
    let address = match host {
        "a.example.org" | "localhost" | "127.0.0.1" => [127, 0, 0, 1],
        "b.example.org" => [10, 0, 0, 2],
        "c.example.org" => [10, 0, 0, 3],
        _ => return Err(format!("lookup {host}: no such host")),
    };
    Ok(BTreeSet::from([(address, port).into()]))
}

fn config(name: &str, url: &str) -> Config {
    Config {
        name: name.to_owned(),
        initial_advertise_peer_urls: vec![Url::parse(url).unwrap()],
        discovery_srv: "example.org".to_owned(),
        ..Config::default()
    }
}

fn find(config: &Config, records: &[Record]) -> Result<String, String> {
    let server = NameServer::start(records, Manners::default());
    let found = Search {
        config,
        resolver: &server.resolver(),
        addresses: &addresses,
    }
    .run();
    found.map_err(|error| error.replace(&server.address.to_string(), "SERVER"))
}

const PLAIN: &str = "_etcd-server._tcp.example.org";
const SECURE: &str = "_etcd-server-ssl._tcp.example.org";

const THREE: [Record; 3] = [
    (PLAIN, 0, 0, 2380, "a.example.org"),
    (PLAIN, 0, 0, 2380, "b.example.org"),
    (PLAIN, 0, 0, 2381, "c.example.org"),
];

#[test]
fn a_member_finds_itself_by_its_addresses() {
    let own = config("m1", "http://127.0.0.1:2380");
    assert_eq!(
        find(&own, &THREE).unwrap(),
        "m1=http://a.example.org:2380,0=http://b.example.org:2380,1=http://c.example.org:2381"
    );
    // A number that is this member's name is no other's.
    let own = config("0", "http://c.example.org:2381");
    assert_eq!(
        find(&own, &THREE).unwrap(),
        "1=http://a.example.org:2380,2=http://b.example.org:2380,0=http://c.example.org:2381"
    );
}

#[test]
fn records_with_the_suffix_are_those_of_this_cluster() {
    let suffixed: [Record; 2] = [
        (
            "_etcd-server-one._tcp.example.org",
            0,
            0,
            1,
            "a.example.org",
        ),
        (PLAIN, 0, 0, 2, "a.example.org"),
    ];
    let own = Config {
        discovery_srv_name: "one".to_owned(),
        ..config("m", "http://localhost:1")
    };
    assert_eq!(find(&own, &suffixed).unwrap(), "m=http://a.example.org:1");
}

#[test]
fn records_of_both_kinds_count_and_have_to_fit_the_own_url() {
    let both: [Record; 2] = [
        (SECURE, 0, 0, 2380, "b.example.org"),
        (PLAIN, 0, 0, 2380, "a.example.org"),
    ];
    let own = config("m", "http://127.0.0.1:2380");
    assert_eq!(
        find(&own, &both).unwrap(),
        "0=https://b.example.org:2380,m=http://a.example.org:2380"
    );
    let wrong: [Record; 1] = [(SECURE, 0, 0, 2380, "a.example.org")];
    let refused = find(&own, &wrong).unwrap_err();
    let expected = "error setting up initial cluster: error querying DNS SRV records for _etcd-server-ssl bootstrap at \
                    https://a.example.org:2380 from DNS for etcd-server-ssl has scheme mismatch with expected peer \
                    http://127.0.0.1:2380\nerror querying DNS SRV records for _etcd-server lookup \
                    _etcd-server._tcp.example.org on SERVER: no such host";
    assert_eq!(refused, expected);
}

#[test]
fn what_does_not_lead_to_a_cluster_is_told() {
    let own = config("m", "http://127.0.0.1:2380");
    let refused = find(&own, &[]).unwrap_err();
    let expected = "error setting up initial cluster: error querying DNS SRV records for _etcd-server-ssl lookup \
                    _etcd-server-ssl._tcp.example.org on SERVER: no such host\nerror querying DNS SRV records for \
                    _etcd-server lookup _etcd-server._tcp.example.org on SERVER: no such host";
    assert_eq!(refused, expected);
    let elsewhere = find(&config("m", "http://127.0.0.1:9"), &THREE).unwrap_err();
    let expected =
        "error setting up initial cluster: cannot find local etcd member \"m\" in SRV records";
    assert_eq!(elsewhere, expected);
    // A host that cannot be resolved is left out, and so is not this member.
    let unknown: [Record; 2] = [
        (PLAIN, 0, 0, 2380, "unknown.example.org"),
        (PLAIN, 0, 0, 2380, "a.example.org"),
    ];
    assert_eq!(find(&own, &unknown).unwrap(), "m=http://a.example.org:2380");
}
