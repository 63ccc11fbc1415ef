//! A policy that given evidence meets, as narrow as can be: for a user who trusts a first look.
//!
//! Signatures are verified first, so what is listed is what the hardware says. Whether it is good is the user's
//! decision.

use std::fmt::Write;

use dcap_qvl::PckCertFlag;
use talaria_evidence::{
    Attestation, Claims, Evidence, SnpAttestation, TdxAttestation, TdxCollateral,
};

use super::appraisal::{Steps, Stop};
use super::snp::Root;
use super::{Appraisal, Refusal, snp, tdx};
use crate::policy::VERSION;
use crate::time::UnixTime;

/// The text of a policy file that lists what this evidence shows.
///
/// # Errors
/// Nothing vouches for the evidence: the appraisal says where it fails. Development evidence gets a policy on claims
/// alone.
pub fn propose(
    evidence: &Evidence,
    collateral: Option<&TdxCollateral>,
    roots: &[Root],
    now: UnixTime,
) -> Result<String, Box<Appraisal>> {
    let mut steps = Steps::default();
    let platform = match &evidence.attestation {
        Attestation::SevSnp(attestation) => sev_snp(attestation, roots, now, &mut steps),
        Attestation::Tdx(attestation) => td(attestation, collateral, now, &mut steps),
        Attestation::Development(_) => Ok(String::new()),
    };
    match platform {
        Ok(platform) => Ok(format!(
            "version = {VERSION}\n\n{}{platform}",
            claims(&evidence.claims)
        )),
        Err(stop) => Err(steps.finish(Err(stop)).into()),
    }
}

fn claims(claims: &Claims) -> String {
    format!(
        "[claims]\npayload_sha256 = [\"{}\"]\nmodel_digest = [\"{}\"]\nmasking = [{}]\n\
         host_configuration_digest = [\"{}\"]\n",
        hex::encode(claims.payload_sha256),
        hex::encode(claims.model_digest),
        quoted(&claims.masking),
        hex::encode(claims.host_configuration_digest),
    )
}

/// Strings of JSON are strings of TOML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn sev_snp(
    attestation: &SnpAttestation,
    roots: &[Root],
    now: UnixTime,
    steps: &mut Steps,
) -> Result<String, Stop> {
    let shown = snp::look(attestation, roots, now, steps)?;
    let tcb = shown.oldest_tcb;
    let fmc = tcb
        .fmc
        .map_or(String::new(), |fmc| format!("fmc = {fmc}, "));
    let mut section = format!(
        "\n[sev_snp]\nmeasurements = [\"{}\"]\nsigning_keys = [\"{}\"]\nminimum_guest_svn = {}\nvmpls = [{}]\n",
        hex::encode(shown.measurement),
        shown.signing_key.to_string().to_lowercase(),
        shown.guest_svn,
        shown.vmpl,
    );
    let mut line = |line: String| writeln!(section, "{line}").expect("a string takes any text");
    if let Some(provider) = &shown.provider {
        line(format!("vlek_providers = [{}]", quoted(provider)));
    }
    line(format!("allow_migration = {}", shown.migration));
    line(format!("allow_smt = {}", shown.smt));
    line(format!(
        "require_ciphertext_hiding = {}",
        shown.ciphertext_hiding
    ));
    line(format!(
        "minimum_tcb.{} = {{ {fmc}boot_loader = {}, tee = {}, snp = {}, microcode = {} }}",
        shown.product, tcb.boot_loader, tcb.tee, tcb.snp, tcb.microcode
    ));
    Ok(section)
}

fn td(
    attestation: &TdxAttestation,
    collateral: Option<&TdxCollateral>,
    now: UnixTime,
    steps: &mut Steps,
) -> Result<String, Stop> {
    let collateral = collateral.or(attestation.collateral.as_deref());
    let collateral = collateral.ok_or(Refusal::CollateralMissing);
    let collateral = steps.require("collateral", collateral, |_| "present".into())?;
    let verified = tdx::verify(&attestation.quote, collateral, now);
    let claims = steps.require("quote's signatures", verified, |_| "verified".into())?;
    let td = claims.report.as_td10().ok_or(Refusal::QuoteNotTdx);
    let td = steps.require("kind of quote", td, |_| "TD".into())?;
    let pck = &claims.platform.pck;
    let is_set = |flag| flag == PckCertFlag::True;
    Ok(format!(
        "\n[tdx]\ntcb_statuses = [\"{}\"]\nminimum_tcb_evaluation_data_number = {}\n\
         allow_dynamic_platform = {}\nallow_cached_keys = {}\nallow_smt = {}\n\n[[tdx.measurements]]\n\
         mr_td = \"{}\"\nrtmr0 = \"{}\"\nrtmr1 = \"{}\"\nrtmr2 = \"{}\"\nrtmr3 = \"{}\"\n",
        claims.tcb.status,
        claims.tcb.eval_data_number,
        is_set(pck.dynamic_platform),
        is_set(pck.cached_keys),
        is_set(pck.smt_enabled),
        hex::encode(td.mr_td),
        hex::encode(td.rt_mr0),
        hex::encode(td.rt_mr1),
        hex::encode(td.rt_mr2),
        hex::encode(td.rt_mr3),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use crate::verify::snp::Product;
    use crate::verify::snp::test_ca::{Case, NOW};
    use crate::verify::{Nonce, Verifier};

    #[test]
    fn evidence_meets_what_is_proposed_for_it_and_nothing_else_does() {
        for (product, key) in [
            (Product::Milan, "VCEK"),
            (Product::Turin, "VCEK"),
            (Product::Genoa, "VLEK"),
        ] {
            let case = Case::of(product, key);
            let roots = vec![case.root()];
            let text = propose(&case.evidence(), None, &roots, NOW).unwrap();
            let policy = Policy::from_toml(&text).unwrap();
            let verifier = Verifier::new(&policy, NOW).dangerous_roots(roots);
            assert!(
                verifier.verify(&case.evidence(), Nonce::Any).passed(),
                "{text}"
            );

            let mut other = Case::of(product, key);
            other.set(0x090, &[0xab; 48]);
            assert!(!verifier.verify(&other.evidence(), Nonce::Any).passed());
            let mut other = Case::of(product, key);
            other.claims.masking = "x\"y".into();
            assert!(!verifier.verify(&other.evidence(), Nonce::Any).passed());
        }
    }

    #[test]
    fn nothing_is_proposed_for_what_nothing_vouches_for() {
        let mut case = Case::new();
        case.break_report = |report| report[0] ^= 1;
        let refused = propose(&case.evidence(), None, &[case.root()], NOW).unwrap_err();
        let names: Vec<_> = refused.refusals().map(Refusal::name).collect();
        assert_eq!(names, ["report-signature"]);
    }

    #[test]
    fn a_quote_of_real_hardware() {
        let json = include_bytes!("../../tests/vectors/tdx.evidence.json");
        let evidence = Evidence::from_json(json).unwrap();
        let now = UnixTime(1_750_329_147);
        let text = propose(&evidence, None, &[], now).unwrap();
        let policy = Policy::from_toml(&text).unwrap();
        let data = hex::decode("9a9d48e7f6799642d3d1b34e1e5e1742d4bb02dd6ddd551862c1211d35c304f9eca3efdbb481601c163cf52493d6e44aed55d51ec39b7e518fadb92c2b523f20").unwrap();
        let data = data.try_into().unwrap();
        let appraisal = Verifier::new(&policy, now).verify_platform(&evidence.attestation, &data);
        assert!(appraisal.passed(), "{text}");
    }
}
