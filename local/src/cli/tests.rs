use super::*;
use clap::CommandFactory;
use clap::error::ErrorKind;
use talaria_host_cvm::Masking;
use talaria_host_cvm::cli::masking::Scheme;
use talaria_host_gpu::backend::BackendKind;
use talaria_wire::manifest::Generation;

fn run(flags: &str) -> Result<RunArgs, ErrorKind> {
    let words = ["talaria-local", "run"].into_iter().chain(flags.split(' '));
    match Cli::try_parse_from(words).map_err(|e| e.kind())?.command {
        Command::Run(args) => Ok(*args),
        other => panic!("parsed as {other:?}"),
    }
}

#[test]
fn definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_safe() {
    let args = run("--model dir --prompt hi").unwrap();
    assert_eq!(args.parties.masking.scheme(0), Masking::Shares);
    assert_eq!(args.parties.masking.scheme(1), Masking::ModuleLwe);
    assert_eq!(args.parties.masking.scheme(2), Masking::Shares);
    let request = args.asked.request(None);
    assert_eq!(
        (request.sampling.temperature, request.max_new_tokens),
        (0.0, 512)
    );
    assert!(args.parties.gpu.is_empty() && !args.json && !request.ignore_eos);
}

#[test]
fn every_flag_of_the_manual_parses() {
    let digest = "ab".repeat(32);
    let args = run(&format!(
        "--model m --masking remo --backend cpu --weights int8 --prompt-ids 1,2,3 --max-new-tokens 7 \
         --ignore-eos --gpu http://a:1 --gpu http://b:2 --json --remo-rank 0.25 --engines 2 \
         --max-batch-rows 8 --expect-digest {digest} --threads 3 --temperature 0.7 --top-k 20 \
         --top-p 0.9 --min-p 0.05 --repetition-penalty 1.1 --presence-penalty -0.5 \
         --frequency-penalty 0.5 --seed 9 --stop a --stop b --cache-dir c"
    ))
    .unwrap();
    assert_eq!(
        args.parties.masking.masking,
        Some(Scheme::Of(Masking::Remo))
    );
    assert_eq!(args.parties.backend.backend, BackendKind::Cpu);
    assert_eq!(args.parties.weights, Some(WeightFormat::Int8));
    assert_eq!(args.asked.prompt_ids.as_deref(), Some([1, 2, 3].as_slice()));
    assert_eq!(args.parties.gpu, ["http://a:1", "http://b:2"]);
    assert_eq!(args.expect_digest, Some([0xab; 32]));
    assert_eq!(args.asked.sampling.stop, ["a", "b"]);
    assert_eq!(args.asked.sampling.presence_penalty, Some(-0.5));
}

#[test]
fn contradictions_and_nonsense_are_refused() {
    let cases = [
        ("--model m", ErrorKind::MissingRequiredArgument),
        ("--prompt hi", ErrorKind::MissingRequiredArgument),
        ("--model m --prompt a --chat b", ErrorKind::ArgumentConflict),
        (
            "--model m --prompt a --system s",
            ErrorKind::ArgumentConflict,
        ),
        (
            "--model m --prompt a --date 2026-07-26",
            ErrorKind::ArgumentConflict,
        ),
        (
            "--model m --chat a --date 26.7.2026",
            ErrorKind::ValueValidation,
        ),
        ("--model m --prompt ", ErrorKind::ValueValidation),
        ("--model m --prompt-ids 1,x", ErrorKind::ValueValidation),
        ("--model m --prompt-ids -1", ErrorKind::UnknownArgument),
        (
            "--model m --prompt a --masking none",
            ErrorKind::InvalidValue,
        ),
        (
            "--model m --prompt a --weights int4",
            ErrorKind::InvalidValue,
        ),
        (
            "--model m --prompt a --max-new-tokens 0",
            ErrorKind::ValueValidation,
        ),
        (
            "--model m --prompt a --temperature nan",
            ErrorKind::ValueValidation,
        ),
        (
            "--model m --prompt a --top-p 1.5",
            ErrorKind::ValueValidation,
        ),
        (
            "--model m --prompt a --remo-rank 1.5",
            ErrorKind::ValueValidation,
        ),
        (
            "--model m --prompt a --expect-digest abcd",
            ErrorKind::ValueValidation,
        ),
        ("--model m --prompt a --stop ", ErrorKind::ValueValidation),
        (
            "--model m --prompt a --frobnicate",
            ErrorKind::UnknownArgument,
        ),
    ];
    for (flags, expected) in cases {
        assert_eq!(run(flags).err(), Some(expected), "{flags}");
    }
}

#[test]
fn narrowing_flags_turn_sampling_on_unless_told_otherwise() {
    let temperature = |flags: &str| {
        let args = run(&format!("--model m --prompt a {flags}")).unwrap();
        args.asked.request(None).sampling.temperature
    };
    assert_eq!(temperature("--top-k 5"), 1.0);
    assert_eq!(temperature("--min-p 0.1"), 1.0);
    assert_eq!(temperature("--top-k 0"), 0.0);
    assert_eq!(temperature("--top-p 0.5 --temperature 0"), 0.0);
    assert_eq!(temperature("--seed 1"), 0.0);
}

#[test]
fn the_models_defaults_apply_only_when_it_samples() {
    let mut generation = Generation {
        temperature: Some(0.7),
        top_k: Some(20),
        repetition_penalty: Some(1.1),
        ..Generation::default()
    };
    let asked = |flags| run(&format!("--model m --prompt a {flags}")).unwrap().asked;
    let greedy = asked("--seed 1").request(Some(&generation)).sampling;
    assert_eq!((greedy.temperature, greedy.repetition_penalty), (0.0, 1.1));
    generation.do_sample = true;
    let sampled = asked("--top-p 0.9").request(Some(&generation)).sampling;
    assert_eq!(
        (sampled.temperature, sampled.top_k, sampled.top_p),
        (0.7, 20, 0.9)
    );
}

#[test]
fn a_chat_says_the_date_and_nothing_else_does() {
    let now = |flags: &str| run(flags).unwrap().asked.request(None).now;
    let said = "2026-07-26T14:30".parse().ok();
    assert_eq!(now("--model m --chat a --date 2026-07-26T14:30"), said);
    assert!(now("--model m --chat a").is_some());
    assert_eq!(now("--model m --prompt a"), None);
    assert_eq!(now("--model m --prompt-ids 1"), None);
}
