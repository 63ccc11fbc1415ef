use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use super::*;

const WIT: &str = include_str!("../../../wit/payload.wit");
const RANDOM_WIT: &str = include_str!("../../../wit/deps/random/random.wit");

/// A component of the payload's world as `change` leaves it; every function of it traps.
fn dummy(change: impl Fn(&str) -> String) -> Vec<u8> {
    dummy_with_random(RANDOM_WIT, change)
}

fn dummy_with_random(random: &str, change: impl Fn(&str) -> String) -> Vec<u8> {
    encoded(random, change, |wat| wat)
}

/// A payload each of whose functions does `body` before it traps.
pub(crate) fn payload_that_does(body: &str) -> Payload {
    let before_trap = |wat: String| wat.replace("unreachable", &format!("{body} unreachable"));
    Payload::load(&encoded(RANDOM_WIT, str::to_owned, before_trap), None).unwrap()
}

fn encoded(
    random: &str,
    change: impl Fn(&str) -> String,
    edit: impl Fn(String) -> String,
) -> Vec<u8> {
    let mut resolve = Resolve::default();
    resolve.push_str("random.wit", random).unwrap();
    let package = resolve.push_str("payload.wit", &change(WIT)).unwrap();
    let world = resolve.select_world(&[package], Some("payload")).unwrap();
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let module = wasmprinter::print_bytes(dummy_module(&resolve, world, abi)).unwrap();
    let mut module = wat::parse_str(edit(module)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    let mut encoder = ComponentEncoder::default();
    encoder.module(&module).unwrap().validate(true);
    encoder.encode().unwrap()
}

fn replaced(from: &'static str, to: &'static str) -> impl Fn(&str) -> String {
    move |wit| {
        assert!(
            wit.contains(from),
            "the world has changed: `{from}` is gone"
        );
        wit.replacen(from, to, 1)
    }
}

fn refusal(wasm: &[u8]) -> PayloadError {
    Payload::load(wasm, None).unwrap_err()
}

#[test]
fn exactly_the_world_is_accepted() {
    let wasm = dummy(str::to_owned);
    let payload = Payload::load(&wasm, None).unwrap();
    assert_eq!(payload.sha256(), <[u8; 32]>::from(Sha256::digest(&wasm)));
}

#[test]
fn any_patch_version_of_wasi_random_is_accepted() {
    for patch in ["0", "3", "11"] {
        let version = format!("0.2.{patch}");
        let random = RANDOM_WIT.replace("0.2.6", &version);
        let wasm = dummy_with_random(&random, |wit| wit.replace("0.2.6", &version));
        Payload::load(&wasm, None).unwrap();
    }
    let random = RANDOM_WIT.replace("0.2.6", "0.3.0");
    let wasm = dummy_with_random(&random, |wit| wit.replace("0.2.6", "0.3.0"));
    let error = refusal(&wasm).to_string();
    assert!(error.contains("`wasi:random/random@0.3.0`"), "{error}");
}

#[test]
fn a_foreign_import_is_named() {
    let clock = "import weighted;\n import clock: interface { now: func() -> u64; }";
    let error = refusal(&dummy(replaced("import weighted;", clock)));
    assert!(
        matches!(&error, PayloadError::ForeignImport(name) if name == "clock"),
        "{error}"
    );

    let wasm = wat::parse_str(r#"(component (import "wasi:sockets/network@0.2.6" (instance)))"#);
    let error = refusal(&wasm.unwrap()).to_string();
    assert!(error.contains("`wasi:sockets/network@0.2.6`"), "{error}");
}

#[test]
fn a_foreign_function_of_an_allowed_interface_is_refused() {
    let leak = "quarantine: func(projection: u32);\n leak: func(text: string);";
    let error = refusal(&dummy(replaced("quarantine: func(projection: u32);", leak)));
    assert!(matches!(error, PayloadError::Interface(_)), "{error}");
    assert!(error.to_string().contains("leak"), "{error}");
}

#[test]
fn a_missing_import_or_export_is_named() {
    let error = refusal(&dummy(replaced("import wasi:random/random@0.2.6;", "")));
    assert!(
        matches!(error, PayloadError::MissingImport(RANDOM_SHOWN)),
        "{error}"
    );
    let error = refusal(&dummy(replaced("export minting;", "")));
    assert!(
        matches!(error, PayloadError::MissingExport(name) if name.contains("minting")),
        "{error}"
    );
    let error = refusal(&wat::parse_str("(component)").unwrap());
    assert!(matches!(error, PayloadError::MissingImport(_)), "{error}");
}

#[test]
fn a_foreign_export_is_named() {
    let more = "export minting;\n export debug: func() -> string;";
    let error = refusal(&dummy(replaced("export minting;", more)));
    assert!(
        matches!(&error, PayloadError::ForeignExport(name) if name == "debug"),
        "{error}"
    );
}

#[test]
fn an_interface_of_another_release_is_refused() {
    let error = refusal(&dummy(replaced("count: func()", "recount: func()")));
    assert!(matches!(error, PayloadError::Interface(_)), "{error}");
    assert!(error.to_string().contains("count"), "{error}");
}

#[test]
fn what_is_no_component_is_refused() {
    let module = wat::parse_str("(module)").unwrap();
    for bytes in [&b""[..], b"garbage", &module, &dummy(str::to_owned)[..100]] {
        let error = refusal(bytes);
        assert!(matches!(error, PayloadError::NotAComponent(_)), "{error}");
    }
}

#[test]
fn the_cache_does_not_bypass_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let clock = "import weighted;\n import clock: interface { now: func() -> u64; }";
    let wasm = dummy(replaced("import weighted;", clock));
    for _ in 0..2 {
        let error = Payload::load(&wasm, Some(dir.path())).unwrap_err();
        assert!(matches!(error, PayloadError::ForeignImport(_)), "{error}");
    }
    let good = dummy(str::to_owned);
    for _ in 0..2 {
        Payload::load(&good, Some(dir.path())).unwrap();
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}
