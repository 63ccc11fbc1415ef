//! TCB versions: security versions of firmware and microcode (AMD 56860, table TCB_VERSION).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Product;

/// A TCB version. Larger is newer, component by component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tcb {
    /// Firmware of the security processor's first mutable code; Turin only.
    pub fmc: Option<u8>,
    /// Boot loader of the security processor.
    pub boot_loader: u8,
    /// Operating system of the security processor.
    pub tee: u8,
    /// SEV-SNP firmware.
    pub snp: u8,
    /// Microcode of the cores.
    pub microcode: u8,
}

impl Tcb {
    /// From the 8 bytes of a report.
    pub(super) fn from_report(product: Product, bytes: [u8; 8]) -> Self {
        match (product, bytes) {
            (Product::Turin, [fmc, boot_loader, tee, snp, _, _, _, microcode]) => Self {
                fmc: Some(fmc),
                boot_loader,
                tee,
                snp,
                microcode,
            },
            (_, [boot_loader, tee, _, _, _, _, snp, microcode]) => Self {
                fmc: None,
                boot_loader,
                tee,
                snp,
                microcode,
            },
        }
    }

    /// The older of each component.
    pub(super) fn least(self, other: &Tcb) -> Self {
        Self {
            fmc: self.fmc.min(other.fmc),
            boot_loader: self.boot_loader.min(other.boot_loader),
            tee: self.tee.min(other.tee),
            snp: self.snp.min(other.snp),
            microcode: self.microcode.min(other.microcode),
        }
    }

    /// No component is older than in `minimum`.
    pub fn at_least(&self, minimum: &Tcb) -> bool {
        self.fmc >= minimum.fmc
            && self.boot_loader >= minimum.boot_loader
            && self.tee >= minimum.tee
            && self.snp >= minimum.snp
            && self.microcode >= minimum.microcode
    }
}

impl fmt::Display for Tcb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fmc) = self.fmc {
            write!(f, "FMC {fmc}, ")?;
        }
        write!(
            f,
            "boot loader {}, TEE {}, SNP {}, microcode {}",
            self.boot_loader, self.tee, self.snp, self.microcode
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_differ_by_product() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        let milan = Tcb::from_report(Product::Milan, bytes);
        assert_eq!(
            milan.to_string(),
            "boot loader 1, TEE 2, SNP 7, microcode 8"
        );
        let turin = Tcb::from_report(Product::Turin, bytes);
        assert_eq!(
            turin.to_string(),
            "FMC 1, boot loader 2, TEE 3, SNP 4, microcode 8"
        );
    }

    #[test]
    fn one_old_component_is_too_old() {
        let minimum = Tcb::from_report(Product::Turin, [5; 8]);
        for component in [0, 1, 2, 3, 7] {
            let mut bytes = [9; 8];
            assert!(Tcb::from_report(Product::Turin, bytes).at_least(&minimum));
            bytes[component] = 4;
            assert!(!Tcb::from_report(Product::Turin, bytes).at_least(&minimum));
        }
    }
}
