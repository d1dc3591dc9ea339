//! Compiles the `.proto` texts to Rust without a protobuf compiler on the machine.

use std::fmt::Write as _;

/// Every text that is compiled, below `proto/`.
const TEXTS: &[&str] = &[
    "authpb/auth.proto",
    "mvccpb/kv.proto",
    "membershippb/membership.proto",
    "etcdserverpb/header.proto",
    "etcdserverpb/kv.proto",
    "etcdserverpb/watch.proto",
    "etcdserverpb/lease.proto",
    "etcdserverpb/cluster.proto",
    "etcdserverpb/maintenance.proto",
    "etcdserverpb/auth.proto",
    "v3lockpb/lock.proto",
    "v3electionpb/election.proto",
    "health/health.proto",
];

/// Writes, for each service, a module with the path of each of its methods.
struct MethodPaths;

impl prost_build::ServiceGenerator for MethodPaths {
    fn generate(&mut self, service: prost_build::Service, into: &mut String) {
        let full_name = format!("{}.{}", service.package, service.proto_name);
        let module = snake_case(&service.proto_name);
        let _ = writeln!(
            into,
            "/// Method paths of `{full_name}`.\npub mod {module}_methods {{"
        );
        for method in &service.methods {
            let constant = snake_case(&method.proto_name).to_uppercase();
            let path = format!("/{full_name}/{}", method.proto_name);
            let _ = writeln!(into, "    /// `{path}`");
            let _ = writeln!(into, "    pub const {constant}: &str = {path:?};");
        }
        let _ = writeln!(into, "}}");
    }
}

/// `HashKV` becomes `hash_kv`, `LeaseGrant` becomes `lease_grant`, `KV` becomes `kv`.
fn snake_case(name: &str) -> String {
    let mut out = String::new();
    let mut previous_lower = false;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && previous_lower {
            out.push('_');
        }
        previous_lower = letter.is_ascii_lowercase();
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(TEXTS, ["proto"])?;
    prost_build::Config::new()
        .bytes(["."])
        .service_generator(Box::new(MethodPaths))
        .compile_fds(descriptors)?;
    Ok(())
}
