use dcap_qvl::TcbStatus;
use dcap_qvl::quote::{Quote, Report};
use proptest::prelude::*;
use talaria_evidence::{Attestation, Evidence, TdxAttestation};

use super::*;
use crate::policy::Policy;
use crate::verify::flips::assert_every_flip_refused;

const QUOTE: &[u8] = include_bytes!("../../../tests/vectors/tdx_quote");
const COLLATERAL: &[u8] = include_bytes!("../../../tests/vectors/tdx_quote_collateral.json");
const POLICY: &str = include_str!("../../../tests/vectors/policy.toml");

/// First and last second at which the vector's collateral is valid.
const FIRST: UnixTime = UnixTime(1_750_329_147);
const LAST: UnixTime = UnixTime(1_752_919_234);

fn collateral() -> TdxCollateral {
    TdxCollateral::from_json(COLLATERAL).unwrap()
}

fn policy() -> TdxPolicy {
    Policy::from_toml(POLICY).unwrap().tdx.unwrap()
}

fn td(claims: &QuoteClaims) -> TDReport10 {
    *claims.report.as_td10().unwrap()
}

/// Names of all refusals, for the vector at a time.
fn refusals_at(now: UnixTime) -> Vec<String> {
    let mut steps = Steps::default();
    let collateral = collateral();
    let data = Quote::parse(QUOTE)
        .unwrap()
        .report
        .as_td10()
        .unwrap()
        .report_data;
    let verdict = appraise(QUOTE, Some(&collateral), &data, &policy(), now, &mut steps);
    names(steps, verdict)
}

/// Names of all refusals of the vector's verified claims after a change of claims or policy.
fn refusals(change: impl FnOnce(&mut QuoteClaims, &mut TdxPolicy)) -> Vec<String> {
    let mut claims = verify(QUOTE, &collateral(), FIRST).unwrap();
    let data = td(&claims).report_data;
    let mut policy = policy();
    change(&mut claims, &mut policy);
    let mut steps = Steps::default();
    let verdict = appraise_claims(&claims, &data, &policy, FIRST, &mut steps);
    names(steps, verdict)
}

fn names(steps: Steps, verdict: Result<(), Stop>) -> Vec<String> {
    let appraisal = steps.finish(verdict.map(|()| None));
    let names: Vec<String> = appraisal.refusals().map(Refusal::name).collect();
    assert_eq!(appraisal.passed(), names.is_empty());
    names
}

fn change_td(claims: &mut QuoteClaims, change: impl FnOnce(&mut TDReport10)) {
    match &mut claims.report {
        Report::TD10(td) => change(td),
        other => panic!("{other:?}"),
    }
}

#[test]
fn evidence_file_is_quote_and_collateral() {
    let json = include_bytes!("../../../tests/vectors/tdx.evidence.json");
    let evidence = Evidence::from_json(json).unwrap();
    let expected = Attestation::Tdx(TdxAttestation {
        quote: QUOTE.to_vec(),
        collateral: Some(Box::new(collateral())),
    });
    assert_eq!(evidence.attestation, expected);
}

#[test]
fn vector_of_real_hardware_verifies_while_its_collateral_is_valid() {
    assert!(refusals_at(FIRST).is_empty());
    assert!(refusals_at(LAST).is_empty());
    assert_eq!(
        refusals_at(UnixTime(FIRST.0 - 1)),
        ["collateral-not-yet-valid"]
    );
    assert_eq!(
        refusals_at(UnixTime(LAST.0 + 86_400)),
        ["collateral-expired"]
    );
}

#[test]
fn every_flipped_bit_of_what_is_signed_is_refused() {
    let collateral = collateral();
    let quote = Quote::parse(QUOTE).unwrap();
    let signed = quote.signed_length();
    // Then, after their length: the TD's signature and key, and the certification data with the quoting
    // enclave's report, its signature and its authentication data (type, size, 384, 64, 2 + 32 bytes).
    let signatures = signed + 4..signed + 4 + 64 + 64;
    let enclave = signatures.end + 6..signatures.end + 6 + 384 + 64 + 2 + 32;
    let places: Vec<usize> = (0..signed).chain(signatures).chain(enclave).collect();
    assert_every_flip_refused(QUOTE, &places, |quote| {
        verify(quote, &collateral, FIRST).is_ok()
    });
}

#[test]
fn tampered_collateral_is_refused() {
    let changes: [fn(&mut TdxCollateral); 5] = [
        |c| c.tcb_info = c.tcb_info.replacen("UpToDate", "OutOfDate", 1),
        |c| c.qe_identity = c.qe_identity.replacen("UpToDate", "OutOfDate", 1),
        |c| c.tcb_info_signature[0] ^= 1,
        |c| c.root_ca_crl.clear(),
        |c| *c.pck_crl.last_mut().unwrap() ^= 1,
    ];
    for change in changes {
        let mut collateral = collateral();
        let before = collateral.clone();
        change(&mut collateral);
        assert_ne!(collateral, before);
        let refusal = verify(QUOTE, &collateral, FIRST).unwrap_err();
        assert_eq!(refusal.name(), "quote");
    }
}

#[test]
fn collateral_is_needed_and_must_parse() {
    let mut steps = Steps::default();
    let verdict = appraise(QUOTE, None, &[0; 64], &policy(), FIRST, &mut steps);
    assert_eq!(names(steps, verdict), ["collateral-missing"]);

    let mut broken = collateral();
    broken.tcb_info = "{}".into();
    let mut steps = Steps::default();
    let verdict = appraise(QUOTE, Some(&broken), &[0; 64], &policy(), FIRST, &mut steps);
    assert_eq!(names(steps, verdict), ["collateral-malformed"]);
}

// One test for each named refusal of verified claims.

#[test]
fn report_data() {
    assert_eq!(
        refusals(|c, _| change_td(c, |td| td.report_data[63] ^= 1)),
        ["report-data"]
    );
}

#[test]
fn quote_not_tdx() {
    let sgx = |c: &mut QuoteClaims, _: &mut TdxPolicy| {
        c.report = Report::SgxEnclave(c.qe.report);
    };
    assert_eq!(refusals(sgx), ["quote-not-tdx"]);
}

#[test]
fn collateral_expired() {
    let old = |c: &mut QuoteClaims, _: &mut TdxPolicy| c.earliest_expiration_date = FIRST.0 - 1;
    assert_eq!(refusals(old), ["collateral-expired"]);
}

#[test]
fn collateral_too_old() {
    let number =
        |n| move |_: &mut QuoteClaims, p: &mut TdxPolicy| p.minimum_tcb_evaluation_data_number = n;
    assert_eq!(refusals(number(18)), ["collateral-too-old"]);
    assert!(refusals(number(17)).is_empty());
}

#[test]
fn tcb_status_not_allowed() {
    let status = |c: &mut QuoteClaims, _: &mut TdxPolicy| c.tcb.status = TcbStatus::OutOfDate;
    assert_eq!(refusals(status), ["tcb-status-not-allowed"]);
    let allowed = |c: &mut QuoteClaims, p: &mut TdxPolicy| {
        c.tcb.status = TcbStatus::OutOfDate;
        p.tcb_statuses.push(TcbStatus::OutOfDate);
    };
    assert!(refusals(allowed).is_empty());
}

#[test]
fn advisory_rejected() {
    let applies = |c: &mut QuoteClaims, p: &mut TdxPolicy| {
        c.qe.tcb_level.advisory_ids.push("INTEL-SA-00615".into());
        p.rejected_advisories.push("intel-sa-00615".into());
    };
    assert_eq!(refusals(applies), ["advisory-rejected"]);
}

#[test]
fn platform_flags() {
    assert_eq!(
        refusals(|_, p| p.allow_dynamic_platform = false),
        ["dynamic-platform"]
    );
    assert_eq!(
        refusals(|_, p| p.allow_cached_keys = false),
        ["cached-keys"]
    );
    assert_eq!(refusals(|_, p| p.allow_smt = false), ["tdx-smt"]);
}

#[test]
fn tdx_debug() {
    for bit in 0..8 {
        let debug = |c: &mut QuoteClaims, _: &mut TdxPolicy| {
            change_td(c, |td| td.td_attributes[0] = 1 << bit);
        };
        assert_eq!(refusals(debug), ["tdx-debug"]);
    }
}

#[test]
fn tdx_measurement_not_allowed() {
    let changes: [fn(&mut TDReport10); 5] = [
        |td| td.mr_td[0] ^= 1,
        |td| td.rt_mr0[0] ^= 1,
        |td| td.rt_mr1[0] ^= 1,
        |td| td.rt_mr2[0] ^= 1,
        |td| td.rt_mr3[0] ^= 1,
    ];
    for change in changes {
        assert_eq!(
            refusals(|c, _| change_td(c, change)),
            ["tdx-measurement-not-allowed"]
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn hostile_quotes_are_refused(
        header in prop::sample::select(vec![0usize, 48, 632, 2000]),
        tail in prop::collection::vec(any::<u8>(), 0..3000),
    ) {
        let quote = [&QUOTE[..header], &tail].concat();
        prop_assert!(verify(&quote, &collateral(), FIRST).is_err());
    }

    #[test]
    fn hostile_collateral_is_refused(
        text in "\\PC{0,60}",
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        place in 0..9,
    ) {
        let mut c = collateral();
        match place {
            0 => c.tcb_info_issuer_chain = text,
            1 => c.qe_identity_issuer_chain = text,
            2 => c.tcb_info = text,
            3 => c.qe_identity = text,
            4 => c.pck_certificate_chain = Some(text),
            5 => c.root_ca_crl = bytes,
            6 => c.pck_crl = bytes,
            7 => c.tcb_info_signature = bytes,
            _ => c.qe_identity_signature = bytes,
        }
        prop_assert!(verify(QUOTE, &c, FIRST).is_err());
    }
}

/// The two texts of dcap-qvl, with the context that it gives them.
#[test]
fn a_platform_below_every_level_is_no_bad_signature() {
    for error in [
        "No matching TCB level found",
        "Failed to evaluate the current TDX TCB (TEE_TCB_SVN2): No matching TCB level found",
        "TDX module TCB level check: TDX module ISVSVN 2 is below minimum required from TDX module TCB levels",
    ] {
        let refusal = refused(error);
        assert_eq!(refusal.name(), "tcb-below-every-level", "{error}");
    }
    let other = refused("Signature is invalid for tcb_info in quote_collateral");
    assert_eq!(other.name(), "quote");
}

/// What the texts above are compared with.
#[test]
fn dcap_qvl_is_the_release_whose_texts_are_known() {
    let manifest = include_str!("../../../../Cargo.toml");
    assert!(manifest.contains("dcap-qvl = { version = \"=0.7.1\""));
}
