//! Puts a seccomp profile of the form that Docker and containerd read into force, as they would.

use std::collections::BTreeMap;
use std::thread;

use seccompiler::{BpfMap, BpfProgram, TargetArch};
use serde_json::{Value, json};

/// Runs `work`, and all processes that it starts, under the profile.
pub fn under<T: Send>(profile: &Value, work: impl FnOnce() -> T + Send) -> T {
    let filters = filters(profile);
    thread::scope(|scope| {
        let confined = scope.spawn(|| {
            // The kernel asks all filters; an error wins over a permission.
            for filter in &filters {
                seccompiler::apply_filter(filter).expect("the kernel takes the filter");
            }
            work()
        });
        confined
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A filter for each action other than the default that the profile names. Calls of one action pass the filters of the
/// others.
fn filters(profile: &Value) -> Vec<BpfProgram> {
    let default = action(&profile["defaultAction"], &profile["defaultErrnoRet"]);
    let mut by_action: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let mut allowed: Vec<Value> = Vec::new();
    for entry in profile["syscalls"].as_array().expect("a list of calls") {
        let action = action(&entry["action"], &entry["errnoRet"]);
        let rules = rules(entry);
        if action == json!("allow") {
            allowed.extend(rules);
        } else {
            // The list of what is allowed must not refuse it first with another error.
            allowed.extend(rules.clone());
            by_action
                .entry(action.to_string())
                .or_default()
                .extend(rules);
        }
    }
    let mut filters = vec![compile(&default, &json!("allow"), &allowed)];
    for (action, rules) in by_action {
        let action: Value = serde_json::from_str(&action).expect("it was made from JSON");
        filters.push(compile(&json!("allow"), &action, &rules));
    }
    filters
}

fn action(name: &Value, errno: &Value) -> Value {
    match name.as_str() {
        Some("SCMP_ACT_ALLOW") => json!("allow"),
        Some("SCMP_ACT_ERRNO") => json!({ "errno": errno.as_u64().unwrap_or(1) }),
        other => panic!("{other:?} is not an action that this test knows"),
    }
}

/// The calls of one entry that exist on this machine's architecture.
fn rules(entry: &Value) -> Vec<Value> {
    let arguments: Vec<Value> = entry["args"]
        .as_array()
        .into_iter()
        .flatten()
        .map(condition)
        .collect();
    let names = entry["names"].as_array().expect("a list of names");
    let rule = |name: &Value| {
        let mut rule = json!({ "syscall": name });
        if !arguments.is_empty() {
            rule["args"] = json!(arguments);
        }
        rule
    };
    let exists = |rule: &Value| {
        let alone = std::slice::from_ref(rule);
        try_compile(&json!("allow"), &json!({ "errno": 1 }), alone).is_ok()
    };
    names.iter().map(rule).filter(exists).collect()
}

fn condition(argument: &Value) -> Value {
    let (operation, value) = match argument["op"].as_str() {
        Some("SCMP_CMP_EQ") => (json!("eq"), &argument["value"]),
        Some("SCMP_CMP_MASKED_EQ") => (
            json!({ "masked_eq": argument["value"] }),
            &argument["valueTwo"],
        ),
        other => panic!("{other:?} is not a comparison that this test knows"),
    };
    json!({ "index": argument["index"], "type": "qword", "op": operation, "val": value })
}

fn compile(mismatch: &Value, matched: &Value, rules: &[Value]) -> BpfProgram {
    try_compile(mismatch, matched, rules).unwrap_or_else(|error| panic!("the profile: {error}"))
}

fn try_compile(
    mismatch: &Value,
    matched: &Value,
    rules: &[Value],
) -> Result<BpfProgram, seccompiler::Error> {
    let text = json!({
        "all": { "mismatch_action": mismatch, "match_action": matched, "filter": rules }
    });
    let architecture = TargetArch::try_from(std::env::consts::ARCH).expect("a known architecture");
    let text = text.to_string();
    let mut compiled: BpfMap = seccompiler::compile_from_json(text.as_bytes(), architecture)?;
    Ok(compiled.remove("all").expect("the filter that was given"))
}
