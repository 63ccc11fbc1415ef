use std::cell::{Cell, RefCell};

use super::*;

/// The kernel's side of a request.
struct Kernel {
    provider: &'static str,
    report: Vec<u8>,
    auxiliary: Option<Vec<u8>>,
    generation: Cell<u64>,
    written: RefCell<Vec<u8>>,
    /// Writes by others, one after each of ours.
    others: Cell<usize>,
}

impl Kernel {
    fn new(provider: &'static str, report: Vec<u8>) -> Self {
        Self {
            provider,
            report,
            auxiliary: None,
            generation: Cell::new(7),
            written: RefCell::default(),
            others: Cell::new(0),
        }
    }
}

impl Entry for Kernel {
    fn read(&self, file: &str) -> Result<Vec<u8>, AttestationError> {
        let absent = || AttestationError::Refused("absent".into());
        match file {
            "provider" => Ok(format!("{}\n", self.provider).into_bytes()),
            "generation" => Ok(format!("{}\n", self.generation.get()).into_bytes()),
            "outblob" => Ok([&self.report[..], &self.written.borrow()].concat()),
            "auxblob" => self.auxiliary.clone().ok_or_else(absent),
            other => panic!("{other}"),
        }
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<(), AttestationError> {
        assert_eq!((file, bytes.len()), ("inblob", 64));
        *self.written.borrow_mut() = bytes.to_vec();
        let mut writes = 1;
        if self.others.get() > 0 {
            self.others.set(self.others.get() - 1);
            writes = 2;
        }
        self.generation.set(self.generation.get() + writes);
        Ok(())
    }
}

/// A hypervisor's table of one certificate, a VCEK.
fn table() -> Vec<u8> {
    let guid = hex::decode("63da758de6644564adc5f4b93be8accd").unwrap();
    let place = [48, 0, 0, 0, 4, 0, 0, 0];
    [&guid[..], &place, &[0; 24], b"vcek"].concat()
}

fn tsm(endorsements: Endorsements) -> ConfigfsTsm {
    ConfigfsTsm::new("/nowhere".into(), endorsements)
}

#[test]
fn a_report_of_sev_snp_comes_with_the_chain_of_the_hypervisor() {
    let mut kernel = Kernel::new("sev_guest", vec![1; SNP_REPORT_BYTES]);
    kernel.auxiliary = Some(table());
    let answer = ask(&kernel, &[9; 64]).unwrap();
    assert_eq!(*kernel.written.borrow(), [9; 64]);
    let Attestation::SevSnp(snp) = tsm(Endorsements::default()).interpret(answer).unwrap() else {
        panic!("another kind");
    };
    assert_eq!(snp.report, [1; SNP_REPORT_BYTES]);
    assert_eq!(snp.certificates, [Certificate(b"vcek".to_vec())]);
}

#[test]
fn certificates_of_the_deployment_come_first() {
    let mut kernel = Kernel::new("sev_guest", vec![1; SNP_REPORT_BYTES]);
    // Not even looked at.
    kernel.auxiliary = Some(vec![0xFF; 30]);
    let given = Endorsements {
        certificates: vec![b"ours".to_vec()],
        ..Endorsements::default()
    };
    let attested = tsm(given)
        .interpret(ask(&kernel, &[0; 64]).unwrap())
        .unwrap();
    let Attestation::SevSnp(snp) = attested else {
        panic!("another kind");
    };
    assert_eq!(snp.certificates, [Certificate(b"ours".to_vec())]);
}

#[test]
fn a_quote_of_tdx_is_passed_on() {
    let kernel = Kernel::new("tdx_guest", vec![2; 5000]);
    let answer = ask(&kernel, &[3; 64]).unwrap();
    let Attestation::Tdx(tdx) = tsm(Endorsements::default()).interpret(answer).unwrap() else {
        panic!("another kind");
    };
    assert_eq!(tdx.quote, [vec![2; 5000], vec![3; 64]].concat());
}

#[test]
fn what_is_no_report_is_refused() {
    let refused = |kernel: Kernel| {
        let answer = ask(&kernel, &[0; 64]).unwrap();
        let refused = tsm(Endorsements::default()).interpret(answer).unwrap_err();
        refused.to_string()
    };
    assert!(refused(Kernel::new("sev_guest", vec![0; 100])).contains("164 bytes"));
    assert!(refused(Kernel::new("tdx_guest", vec![0; MAX_QUOTE_BYTES])).contains("bytes"));
    assert!(refused(Kernel::new("arm_cca_guest", vec![])).contains("arm_cca_guest"));
    let mut kernel = Kernel::new("sev_guest", vec![0; SNP_REPORT_BYTES]);
    kernel.auxiliary = Some(vec![0xFF; 30]);
    assert!(refused(kernel).contains("certificates"));
}

#[test]
fn a_report_for_the_data_of_others_is_asked_for_again() {
    let kernel = Kernel::new("tdx_guest", vec![]);
    kernel.others.set(ATTEMPTS - 1);
    ask(&kernel, &[0; 64]).unwrap();
    kernel.others.set(ATTEMPTS);
    let busy = ask(&kernel, &[0; 64]).map(|_| ()).unwrap_err().to_string();
    assert!(busy.contains("others"), "{busy}");
}

#[test]
fn without_configfs_the_error_says_what_is_needed() {
    let error = tsm(Endorsements::default()).attest(&[0; 64]).unwrap_err();
    assert!(error.to_string().contains("configfs"), "{error}");
}
