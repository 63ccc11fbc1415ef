//! What all programs have in common: the same flag is the same everywhere, and so is the exit code after Ctrl-C.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use talaria_tests::golden::model_dir;
use talaria_tests::program;

const COMMANDS: [&[&str]; 18] = [
    &["talaria", "verify"],
    &["talaria", "ask"],
    &["talaria", "chat"],
    &["talaria", "proxy"],
    &["talaria", "pin"],
    &["talaria", "receipt", "verify"],
    &["talaria-gpu", "serve"],
    &["talaria-gpu", "digest"],
    &["talaria-cvm", "serve"],
    &["talaria-local", "demo"],
    &["talaria-local", "run"],
    &["talaria-local", "replay"],
    &["talaria-local", "masking"],
    &["talaria-local", "payload", "build"],
    &["talaria-local", "bench"],
    &["talaria-adversary", "capture"],
    &["talaria-adversary", "attack"],
    &["talaria-adversary", "report"],
];

/// Flags that are not the same, and why.
const DIFFERENT: [(&str, &str); 7] = [
    ("evidence", "a CVM's provider, or a file to verify"),
    ("listen", "each service has a port of its own"),
    ("cache-dir", "a CVM has no user whose cache it could take"),
    ("seed", "of sampling, or of an attack"),
    ("out", "what is written"),
    ("masking", "bench takes several, capture exactly one"),
    ("new-tokens", "of a measurement, or of a capture"),
];

/// Name of each flag, with what its value is called and its default.
fn flags(command: &[&str]) -> BTreeMap<String, (String, String)> {
    let help = Command::new(program(command[0]))
        .args(&command[1..])
        .arg("--help")
        .output()
        .expect("it starts");
    assert!(help.status.success(), "{command:?}");
    let help = String::from_utf8(help.stdout).expect("text");
    let mut flags = BTreeMap::new();
    let mut text = String::new();
    for line in help.lines().rev() {
        text = format!("{} {text}", line.trim());
        let Some(flag) = line.trim_start().strip_prefix("--") else {
            continue;
        };
        let name = flag.split([' ', '=']).next().unwrap_or_default();
        let value = flag.split_once('<').and_then(|(_, v)| v.split_once('>'));
        let value = value.map_or("", |(value, _)| value);
        let default = text.split_once("[default: ").map_or("", |(_, d)| d);
        let default = default.split([']', ';']).next().unwrap_or_default();
        flags.insert(name.into(), (value.into(), default.into()));
        text.clear();
    }
    assert!(!flags.is_empty(), "{command:?}: {help}");
    flags
}

#[test]
fn the_same_flag_has_one_value_and_one_default_in_every_program() {
    let mut known: BTreeMap<String, (&[&str], (String, String))> = BTreeMap::new();
    let mut shared = 0;
    for command in COMMANDS {
        for (name, found) in flags(command) {
            if DIFFERENT.iter().any(|(different, _)| *different == name) {
                continue;
            }
            match known.get(&name) {
                Some((first, expected)) => {
                    assert_eq!(found, *expected, "--{name} of {command:?} and of {first:?}");
                    shared += 1;
                }
                None => drop(known.insert(name, (command, found))),
            }
        }
    }
    assert!(shared > 40, "{shared} flags were compared");
}

/// Interrupts a program that works for long.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_every_program_with_130() {
    let model = model_dir("demo-qwen3").display().to_string();
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("prompts"), "a b c\n".repeat(1000)).expect("written");
    let (prompts, out) = (path("prompts"), path("out"));
    for command in [
        &["talaria-local", "bench", "--repeats", "1000"][..],
        &[
            "talaria-adversary",
            "capture",
            "--model",
            &model,
            "--masking",
            "remo",
            "--prompts",
            &prompts,
            "--out",
            &out,
        ],
    ] {
        let mut child = Command::new(program(command[0]))
            .args(&command[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        std::thread::sleep(std::time::Duration::from_secs(2));
        let kill = Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status();
        assert!(kill.expect("kill").success());
        assert_eq!(
            child.wait().expect("a child").code(),
            Some(130),
            "{command:?}"
        );
    }
}
