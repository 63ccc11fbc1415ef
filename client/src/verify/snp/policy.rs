//! A verified report against the policy. The steps are independent of each other: all run.

use super::super::Refusal;
use super::super::appraisal::{Steps, ensure};
use super::{Endorsement, Product, Report, Tcb};
use crate::hex_array::HexArray;
use crate::policy::SnpPolicy;

/// Bits of the guest policy (AMD 56860, table "Guest policy").
pub(super) const POLICY_SMT: u64 = 1 << 16;
pub(super) const POLICY_MIGRATE_MA: u64 = 1 << 18;
const POLICY_DEBUG: u64 = 1 << 19;

/// Bits of PLATFORM_INFO.
pub(super) const PLATFORM_CIPHERTEXT_HIDING: u64 = 1 << 4;
const PLATFORM_ALIAS_CHECK: u64 = 1 << 5;

pub(super) fn appraise(
    report: &Report,
    endorsement: &Endorsement,
    policy: &SnpPolicy,
    steps: &mut Steps,
) {
    check_key(endorsement, policy, steps);
    check_tcb(report, endorsement, policy, steps);
    check_guest(report, policy, steps);
    check_guest_policy(report.guest_policy(), policy, steps);
    let product = endorsement.product;
    check_platform_info(report.platform_info(), product, policy, steps);
    check_pins(report, policy, steps);
}

fn check_key(endorsement: &Endorsement, policy: &SnpPolicy, steps: &mut Steps) {
    let key = endorsement.signing_key;
    steps.check(
        "signing key allowed",
        key,
        ensure(policy.signing_keys.contains(&key), || {
            Refusal::SigningKeyNotAllowed(key)
        }),
    );
    if let Some(provider) = &endorsement.provider {
        let list = policy.vlek_providers.as_ref();
        let allowed = list.is_none_or(|list| list.contains(provider));
        let refusal = || Refusal::ProviderNotAllowed(provider.clone());
        steps.check("provider of the VLEK", provider, ensure(allowed, refusal));
    }
}

/// The reported TCB is certified. The committed one says that the platform cannot go back below it, the launch
/// one that the guest did not begin its life under firmware with known holes.
fn check_tcb(report: &Report, endorsement: &Endorsement, policy: &SnpPolicy, steps: &mut Steps) {
    let product = endorsement.product;
    let minimum = policy.minimum_tcb.get(&product);
    steps.check(
        "product allowed",
        product,
        ensure(minimum.is_some(), || Refusal::ProductNotAllowed(product)),
    );
    let Some(minimum) = minimum else { return };
    for (name, which, bytes) in [
        ("reported TCB", "REPORTED_TCB", report.reported_tcb()),
        ("committed TCB", "COMMITTED_TCB", report.committed_tcb()),
        ("launch TCB", "LAUNCH_TCB", report.launch_tcb()),
    ] {
        let found = Tcb::from_report(product, bytes);
        let verdict = ensure(found.at_least(minimum), || Refusal::TcbTooOld {
            which,
            found,
            minimum: *minimum,
        });
        steps.check(name, found, verdict);
    }
}

fn check_guest(report: &Report, policy: &SnpPolicy, steps: &mut Steps) {
    let measurement = HexArray(report.measurement());
    steps.check(
        "measurement",
        measurement,
        ensure(policy.measurements.contains(&measurement), || {
            Refusal::MeasurementNotAllowed(measurement.to_string())
        }),
    );
    let (found, minimum) = (report.guest_svn(), policy.minimum_guest_svn);
    steps.check(
        "guest SVN",
        found,
        ensure(found >= minimum, || Refusal::GuestSvnTooOld {
            found,
            minimum,
        }),
    );
    let vmpl = report.vmpl();
    steps.check(
        "VMPL",
        vmpl,
        ensure(policy.vmpls.contains(&vmpl), || {
            Refusal::VmplNotAllowed(vmpl)
        }),
    );
}

fn check_guest_policy(bits: u64, policy: &SnpPolicy, steps: &mut Steps) {
    let mut flag = |name, bit, accepted: bool, refusal: Refusal| {
        let set = bits & bit != 0;
        let value = if set { "allowed" } else { "not allowed" };
        steps.check(name, value, ensure(accepted || !set, || refusal));
    };
    flag("debugging", POLICY_DEBUG, false, Refusal::Debug);
    flag(
        "migration",
        POLICY_MIGRATE_MA,
        policy.allow_migration,
        Refusal::Migration,
    );
    flag("SMT", POLICY_SMT, policy.allow_smt, Refusal::Smt);
}

fn check_platform_info(bits: u64, product: Product, policy: &SnpPolicy, steps: &mut Steps) {
    let mut flag = |name, bit, required: bool, refusal: Refusal| {
        let set = bits & bit != 0;
        let value = if set { "yes" } else { "no" };
        steps.check(name, value, ensure(set || !required, || refusal));
    };
    flag(
        "memory checked for aliases",
        PLATFORM_ALIAS_CHECK,
        policy.require_alias_check,
        Refusal::AliasCheck,
    );
    flag(
        "ciphertext hidden",
        PLATFORM_CIPHERTEXT_HIDING,
        policy
            .require_ciphertext_hiding
            .unwrap_or(product.hides_ciphertext()),
        Refusal::CiphertextHiding,
    );
}

fn check_pins(report: &Report, policy: &SnpPolicy, steps: &mut Steps) {
    pin(
        "chip",
        report.chip_id(),
        &policy.chip_ids,
        Refusal::ChipNotAllowed,
        steps,
    );
    pin(
        "host data",
        report.host_data(),
        &policy.host_data,
        Refusal::HostDataNotAllowed,
        steps,
    );
    pin(
        "ID key",
        report.id_key_digest(),
        &policy.id_key_digests,
        Refusal::IdKeyNotAllowed,
        steps,
    );
}

/// A step only where the policy has a list.
fn pin<const N: usize>(
    name: &'static str,
    found: [u8; N],
    list: &Option<Vec<HexArray<N>>>,
    refusal: fn(String) -> Refusal,
    steps: &mut Steps,
) {
    let Some(list) = list else { return };
    let found = HexArray(found);
    let verdict = ensure(list.contains(&found), || refusal(found.to_string()));
    steps.check(name, found, verdict);
}
