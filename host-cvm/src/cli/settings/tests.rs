use super::*;
use crate::masks::Masking;

fn combine(args: &ServeArgs, toml: &str) -> anyhow::Result<Settings> {
    Settings::combine(args, toml::from_str(toml)?)
}

fn refused(toml: &str) -> String {
    let refused = combine(&ServeArgs::default(), toml);
    format!("{:#}", refused.unwrap_err())
}

const TWO: &str = "gpu = [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]\n";

#[test]
fn flags_win_over_the_file_and_the_file_over_defaults() {
    let file = format!("{TWO}engines = 3\nminting = 2\nevidence = \"sev-guest\"");
    let settings = combine(&ServeArgs::default(), &file).unwrap();
    assert_eq!(settings.config.masking, Masking::Shares);
    assert_eq!((settings.config.engines, settings.config.minting), (3, 2));
    assert_eq!(settings.evidence, EvidenceKind::SevGuest);
    let args = ServeArgs {
        gpu: vec!["http://c:1".into()],
        engines: EngineArgs {
            engines: Some(1),
            ..EngineArgs::default()
        },
        evidence: Some(EvidenceKind::Development),
        ..ServeArgs::default()
    };
    let settings = combine(&args, &file).unwrap();
    assert_eq!(settings.config.masking, Masking::ModuleLwe, "one host");
    assert_eq!(settings.config.hosts, ["http://c:1"]);
    assert_eq!((settings.config.engines, settings.config.minting), (1, 2));
    assert_eq!(settings.evidence, EvidenceKind::Development);
}

#[test]
fn every_key_of_the_documentation_is_understood() {
    let documented = include_str!("../../../../docs/serving.md");
    let start = documented.find("```toml\n").expect("an example") + 8;
    let end = documented[start..].find("```").expect("its end") + start;
    combine(&ServeArgs::default(), &documented[start..end]).unwrap();
}

#[test]
fn what_is_wrong_is_named() {
    assert!(refused("").contains("--gpu URL"));
    assert!(refused(&format!("{TWO}colour = 1")).contains("colour"));
    assert!(refused(&format!("{TWO}[limits]\nconections = 1")).contains("conections"));
    assert!(refused(&format!("{TWO}masking = \"none\"")).contains("dangerous-plaintext"));
    assert!(
        refused(&format!("{TWO}masking = \"remo\"")).contains("needs 1 GPU host (--gpu), 2 given")
    );
    assert!(refused(&format!("{TWO}mask_parameters = \"1x1\"")).contains("512x5"));
    assert!(refused(&format!("{TWO}expect_digest = \"12\"")).contains("64 hexadecimal digits"));
    assert!(refused(&format!("{TWO}evidence = \"sgx\"")).contains("configfs-tsm"));
    assert!(refused(&format!("{TWO}engines = 0")).contains("engine"));
    assert!(refused(&format!("{TWO}kv_memory_gb = 4.0")).contains("--engines"));
    assert!(refused(&format!("{TWO}mask_memory_gb = -1.0")).contains("mask_memory_gb"));
}

#[test]
fn the_configuration_changes_with_what_it_says_and_with_nothing_else() {
    let json = |toml: &str| {
        combine(&ServeArgs::default(), toml)
            .unwrap()
            .to_json(40_960)
    };
    let reference = json(TWO);
    assert_eq!(
        json(&format!(
            "{TWO}masking = \"shares\"\npayload = \"elsewhere\""
        )),
        reference
    );
    assert_ne!(json(&format!("{TWO}engines = 2")), reference);
    assert_ne!(json(&format!("{TWO}kv_memory_gb = 1.0")), reference);
    assert_ne!(json(&format!("{TWO}prefix_cache = false")), reference);
    assert_ne!(json(&format!("{TWO}[limits]\nidle_seconds = 1")), reference);
    let fewer = combine(&ServeArgs::default(), TWO).unwrap().to_json(40_959);
    assert_ne!(fewer, reference);
    let plain = format!("{TWO}dangerous_plain_links = true");
    assert_ne!(json(&plain), reference);
    let other = TWO.replace("127.0.0.1:2", "127.0.0.1:3");
    assert_ne!(json(&other), reference);
}

/// Every client may ask for the configuration.
#[test]
fn the_configuration_shows_neither_where_gpu_hosts_are_nor_their_keys() {
    let key = "5a".repeat(32);
    let gpu = format!("gpu = [\"noise://{key}@10.1.2.3:7600\", \"unix:/run/gpu\"]\n");
    let json = combine(&ServeArgs::default(), &gpu)
        .unwrap()
        .to_json(40_960);
    let text = String::from_utf8(json).unwrap();
    for hidden in [&key, "10.1.2.3", "noise:", "/run/gpu"] {
        assert!(!text.contains(hidden), "{text}");
    }
    // Who knows the host finds it.
    let known = hex::encode(Sha256::digest([0x5a; 32]));
    assert!(
        text.contains(&format!("\"link_key_sha256\":\"{known}\"")),
        "{text}"
    );
    let address = hex::encode(Sha256::digest(b"unix:/run/gpu"));
    assert!(
        text.contains(&format!("\"address_sha256\":\"{address}\"")),
        "{text}"
    );
}

/// Work on one public seed must not serve against everybody who chose none.
#[test]
fn every_deployment_has_a_public_seed_of_its_own() {
    let seed = |toml: &str| {
        combine(&ServeArgs::default(), toml)
            .unwrap()
            .config
            .public_seed
    };
    let (here, there) = (
        "gpu = [\"http://127.0.0.1:1\"]\n",
        "gpu = [\"http://127.0.0.1:2\"]\n",
    );
    assert_ne!(seed(here), seed(there));
    assert_ne!(seed(here), *crate::cvm::DEFAULT_PUBLIC_SEED);
    assert_eq!(seed(here), seed(here), "kept rows serve again");
    let chosen = format!("public_seed = \"{}\"\n", "5a".repeat(32));
    assert_eq!(seed(&format!("{here}{chosen}")), [0x5a; 32]);
}
