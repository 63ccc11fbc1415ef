//! Intel TDX: a quote, verified by dcap-qvl against Intel's root and signed collateral, then the policy.
//!
//! Specifications: Intel TDX DCAP Quoting Library API (quote of version 4 and 5, appendix A), Intel TDX Module
//! ABI 348551 (TD attributes), Intel PCS API version 4 (collateral).
//!
//! A quote is malleable outside of what is signed: its hash identifies nothing.

use dcap_qvl::configs::RustCryptoConfig;
use dcap_qvl::quote::TDReport10;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{PckCertFlag, QuoteClaims, QuoteCollateralV3, QuotePolicy};
use talaria_evidence::{REPORT_DATA_BYTES, TdxCollateral};

use super::Refusal;
use super::appraisal::{Steps, Stop, check_report_data, ensure};
use crate::hex_array::HexArray;
use crate::policy::{TdMeasurements, TdxPolicy};
use crate::time::UnixTime;

/// Signatures and Intel's rules, TD, binding, policy: in this order.
pub(super) fn appraise(
    quote: &[u8],
    collateral: Option<&TdxCollateral>,
    report_data: &[u8; REPORT_DATA_BYTES],
    policy: &TdxPolicy,
    now: UnixTime,
    steps: &mut Steps,
) -> Result<(), Stop> {
    let collateral = collateral.ok_or(Refusal::CollateralMissing);
    let collateral = steps.require("collateral", collateral, |c| {
        format!("{} bytes of TCB info", c.tcb_info.len())
    })?;
    steps.require(
        "collateral's dates",
        check_dates(collateral, now),
        |until| format!("until {until}"),
    )?;
    let verified = verify(quote, collateral, now);
    let claims = steps.require("quote's signatures", verified, |claims| {
        format!("quote of version {}", claims.header.version)
    })?;
    appraise_claims(&claims, report_data, policy, now, steps)
}

/// Dates in TCB info and quoting enclave identity. Their signatures come in the next step; first, because old
/// collateral is the one refusal here that a user can do something about.
fn check_dates(collateral: &TdxCollateral, now: UnixTime) -> Result<UnixTime, Refusal> {
    let (tcb_from, tcb_until) = dates(&collateral.tcb_info)?;
    let (qe_from, qe_until) = dates(&collateral.qe_identity)?;
    let (from, until) = (tcb_from.max(qe_from), tcb_until.min(qe_until));
    ensure(from <= now, || Refusal::CollateralNotYetValid { from, now })?;
    ensure(now <= until, || Refusal::CollateralExpired { until, now })?;
    Ok(until)
}

/// `issueDate` and `nextUpdate`.
fn dates(signed: &str) -> Result<(UnixTime, UnixTime), Refusal> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Dates {
        issue_date: String,
        next_update: String,
    }
    let dates: Dates =
        serde_json::from_str(signed).map_err(|e| Refusal::CollateralMalformed(e.to_string()))?;
    let parse = |text: &str| text.parse().map_err(Refusal::CollateralMalformed);
    Ok((parse(&dates.issue_date)?, parse(&dates.next_update)?))
}

/// What Intel's chain vouches for. dcap-qvl's own policy is told to let everything pass, because every
/// restriction of it has a step with a refusal of its own in [`appraise_claims`]; so has debugging.
pub(super) fn verify(
    quote: &[u8],
    collateral: &TdxCollateral,
    now: UnixTime,
) -> Result<QuoteClaims, Refusal> {
    QuoteVerifier::new_prod()
        .with_config::<RustCryptoConfig>()
        .allow_debug(true)
        .verify_with_policy(
            quote,
            dcap_collateral(collateral),
            now.0,
            &QuotePolicy::claims_only(now.0),
        )
        .map_err(|error| refused(&format!("{error:#}")))
}

/// What dcap-qvl (the exact release in the manifest) says of a platform below every level that Intel lists: nothing is
/// wrong with its signatures, its firmware is too old to be judged.
const BELOW_EVERY_LEVEL: [&str; 2] = [
    "No matching TCB level found",
    "is below minimum required from TDX module TCB levels",
];

/// The refusal for an error of dcap-qvl.
fn refused(error: &str) -> Refusal {
    match BELOW_EVERY_LEVEL.iter().any(|text| error.contains(text)) {
        true => Refusal::TcbBelowEveryLevel,
        false => Refusal::Quote(error.into()),
    }
}

/// Verified claims against binding and policy.
pub(super) fn appraise_claims(
    claims: &QuoteClaims,
    report_data: &[u8; REPORT_DATA_BYTES],
    policy: &TdxPolicy,
    now: UnixTime,
    steps: &mut Steps,
) -> Result<(), Stop> {
    let td = claims.report.as_td10().ok_or(Refusal::QuoteNotTdx);
    let td = steps.require("kind of quote", td, |_| "TD".into())?;
    let bound = check_report_data(&td.report_data, report_data);
    steps.require("report_data", bound, |()| hex::encode(report_data))?;
    check_collateral(claims, policy, now, steps);
    check_tcb(claims, policy, steps);
    check_platform(claims, policy, steps);
    check_td(td, policy, steps);
    Ok(())
}

fn check_collateral(claims: &QuoteClaims, policy: &TdxPolicy, now: UnixTime, steps: &mut Steps) {
    // Certificates and revocation lists included.
    let until = UnixTime(claims.earliest_expiration_date);
    steps.check(
        "collateral with all its certificates",
        format!("until {until}"),
        ensure(now <= until, || Refusal::CollateralExpired { until, now }),
    );
    let found = claims.tcb.eval_data_number;
    let minimum = policy.minimum_tcb_evaluation_data_number;
    steps.check(
        "collateral's number",
        found,
        ensure(found >= minimum, || Refusal::CollateralTooOld {
            found,
            minimum,
        }),
    );
}

fn check_tcb(claims: &QuoteClaims, policy: &TdxPolicy, steps: &mut Steps) {
    let status = claims.tcb.status;
    steps.check(
        "TCB status",
        status,
        ensure(policy.tcb_statuses.contains(&status), || {
            Refusal::TcbStatusNotAllowed(status.to_string())
        }),
    );
    let current = claims.platform.current_tcb_level.as_ref();
    let advisories: Vec<&String> = (claims.platform.tcb_level.advisory_ids.iter())
        .chain(current.into_iter().flat_map(|level| &level.advisory_ids))
        .chain(&claims.qe.tcb_level.advisory_ids)
        .chain(&claims.tcb.advisory_ids)
        .collect();
    let rejected = advisories.iter().find(|found| {
        let mut list = policy.rejected_advisories.iter();
        list.any(|rejected| rejected.eq_ignore_ascii_case(found))
    });
    steps.check(
        "advisories",
        match advisories.is_empty() {
            true => String::from("none"),
            false => advisories
                .iter()
                .map(|a| a.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        },
        rejected.map_or(Ok(()), |id| Err(Refusal::AdvisoryRejected(id.to_string()))),
    );
}

/// Flags of the PCK certificate. A processor's (not a platform's) certificate has none: such a platform has
/// one package.
fn check_platform(claims: &QuoteClaims, policy: &TdxPolicy, steps: &mut Steps) {
    let pck = &claims.platform.pck;
    let mut flag = |name, found: PckCertFlag, accepted, refusal: Refusal| {
        let value = match found {
            PckCertFlag::True => "yes",
            PckCertFlag::False => "no",
            PckCertFlag::Undefined => "not said",
        };
        let good = accepted || found != PckCertFlag::True;
        steps.check(name, value, ensure(good, || refusal));
    };
    flag(
        "dynamic platform",
        pck.dynamic_platform,
        policy.allow_dynamic_platform,
        Refusal::DynamicPlatform,
    );
    flag(
        "root keys stored by Intel",
        pck.cached_keys,
        policy.allow_cached_keys,
        Refusal::CachedKeys,
    );
    flag("SMT", pck.smt_enabled, policy.allow_smt, Refusal::TdxSmt);
}

fn check_td(td: &TDReport10, policy: &TdxPolicy, steps: &mut Steps) {
    // Bits 7:0, TUD, "TD under debug": debugging, profiling and their reserved companions.
    let [tud, ..] = td.td_attributes;
    steps.check(
        "debugging and profiling",
        if tud == 0 { "not allowed" } else { "allowed" },
        ensure(tud == 0, || Refusal::TdxDebug),
    );
    let found = TdMeasurements {
        mr_td: HexArray(td.mr_td),
        rtmr0: HexArray(td.rt_mr0),
        rtmr1: HexArray(td.rt_mr1),
        rtmr2: HexArray(td.rt_mr2),
        rtmr3: HexArray(td.rt_mr3),
    };
    steps.check(
        "measurements",
        format!(
            "mr_td {}, rtmr0 {}, rtmr1 {}, rtmr2 {}, rtmr3 {}",
            found.mr_td, found.rtmr0, found.rtmr1, found.rtmr2, found.rtmr3
        ),
        ensure(policy.measurements.contains(&found), || {
            Refusal::TdxMeasurementNotAllowed
        }),
    );
}

fn dcap_collateral(collateral: &TdxCollateral) -> QuoteCollateralV3 {
    let c = collateral.clone();
    QuoteCollateralV3 {
        pck_crl_issuer_chain: c.pck_crl_issuer_chain,
        root_ca_crl: c.root_ca_crl,
        pck_crl: c.pck_crl,
        tcb_info_issuer_chain: c.tcb_info_issuer_chain,
        tcb_info: c.tcb_info,
        tcb_info_signature: c.tcb_info_signature,
        qe_identity_issuer_chain: c.qe_identity_issuer_chain,
        qe_identity: c.qe_identity,
        qe_identity_signature: c.qe_identity_signature,
        pck_certificate_chain: c.pck_certificate_chain,
    }
}

#[cfg(test)]
mod tests;
