//! AMD's root keys and the product lines they stand for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A product line with its own root key. Derivatives use their parent's: Bergamo and Siena are Genoa's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Product {
    /// Zen 3, family 19h models 00h-0Fh.
    Milan,
    /// Zen 4, family 19h models 10h-1Fh and A0h-AFh.
    Genoa,
    /// Zen 5, family 1Ah models 00h-1Fh.
    Turin,
}

impl Product {
    /// Name in certificates and policies.
    pub const fn name(self) -> &'static str {
        match self {
            Product::Milan => "Milan",
            Product::Genoa => "Genoa",
            Product::Turin => "Turin",
        }
    }

    /// Whether a key certified for a part of this name belongs to it.
    pub(super) fn has_part(self, name: &str) -> bool {
        name == self.name() || (self == Product::Genoa && name == "Siena")
    }

    /// Its TCB_VERSION begins with the security version of the FMC.
    pub const fn has_fmc(self) -> bool {
        matches!(self, Product::Turin)
    }

    /// Whether its firmware can keep the hypervisor from reading the ciphertext of guests, and reports say whether it
    /// does (CIPHERTEXT_HIDING_DRAM of PLATFORM_INFO, SEV-SNP Firmware ABI 56860).
    pub fn hides_ciphertext(self) -> bool {
        matches!(self, Product::Turin)
    }

    /// Bytes of `hwID` in a VCEK, which are the first of CHIP_ID in a report; the rest is zero.
    pub(super) const fn hwid_bytes(self) -> usize {
        match self {
            Product::Milan | Product::Genoa => 64,
            Product::Turin => 8,
        }
    }

    /// Whether a CPU of this family and model (CPUID Fn0000_0001, extended and base combined) belongs to it.
    pub(super) const fn has_cpu(self, family: u8, model: u8) -> bool {
        match self {
            Product::Milan => family == 0x19 && model <= 0x0f,
            Product::Genoa => family == 0x19 && matches!(model, 0x10..=0x1f | 0xa0..=0xaf),
            Product::Turin => family == 0x1a && model <= 0x1f,
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A trust anchor.
#[derive(Clone, Debug)]
pub struct Root {
    /// Product line that it certifies.
    pub product: Product,
    /// Self-signed DER certificate.
    pub certificate: Vec<u8>,
}

impl Root {
    /// AMD's root keys (ARK), built in; roots/README.md says where they are from.
    pub fn amd() -> Vec<Root> {
        let root = |product, certificate: &[u8]| Root {
            product,
            certificate: certificate.to_vec(),
        };
        vec![
            root(Product::Milan, include_bytes!("roots/ark_milan.der")),
            root(Product::Genoa, include_bytes!("roots/ark_genoa.der")),
            root(Product::Turin, include_bytes!("roots/ark_turin.der")),
        ]
    }
}
