use super::*;

const VCEK_GUID: &str = "63da758de6644564adc5f4b93be8accd";
const VLEK_GUID: &str = "a8074bc2a25a483eaae639c045a0b8a1";
const ASK_GUID: &str = "4ab7b379bbac4fe4a02f05aef327c782";
const ARK_GUID: &str = "c0b406a4a803495297433fb6014cd0ae";

/// A table as a hypervisor makes it.
fn table(certificates: &[(&str, &[u8])]) -> Vec<u8> {
    let mut offset = 24 * (certificates.len() + 1);
    let (mut entries, mut contents) = (Vec::new(), Vec::new());
    for (guid, content) in certificates {
        entries.extend(hex::decode(guid).unwrap());
        entries.extend((offset as u32).to_le_bytes());
        entries.extend((content.len() as u32).to_le_bytes());
        contents.extend(*content);
        offset += content.len();
    }
    entries.extend([0; 24]);
    [entries, contents].concat()
}

fn chain(certificates: &[(&str, &[u8])]) -> Vec<Vec<u8>> {
    let chain = certificate_table(&table(certificates)).unwrap();
    chain.into_iter().map(|Certificate(der)| der).collect()
}

#[test]
fn a_table_gives_the_chain_in_order() {
    let other = "ab".repeat(16);
    let all: [(&str, &[u8]); 4] = [
        (ARK_GUID, b"ark"),
        (ASK_GUID, b"ask"),
        (&other, b"?"),
        (VCEK_GUID, b"vcek"),
    ];
    assert_eq!(chain(&all), [&b"vcek"[..], b"ask", b"ark"]);
    assert_eq!(
        chain(&[(VLEK_GUID, b"vlek"), (ASK_GUID, b"asvk")]),
        [&b"vlek"[..], b"asvk"]
    );
    assert_eq!(chain(&[]), Vec::<Vec<u8>>::new());
}

#[test]
fn hostile_tables_are_refused() {
    assert_eq!(certificate_table(&[]), Err(CertificateTableError::Endless));
    assert!(certificate_table(&[1; 24]).is_err());
    let mut outside = table(&[(VCEK_GUID, b"vcek")]);
    outside.pop();
    assert!(matches!(
        certificate_table(&outside),
        Err(CertificateTableError::Outside { .. })
    ));
    let mut overflow = table(&[(VCEK_GUID, b"vcek")]);
    overflow[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        certificate_table(&overflow),
        Err(CertificateTableError::Outside { .. })
    ));
    let long = vec![0; MAX_CERTIFICATE_BYTES + 1];
    let long = certificate_table(&table(&[(VCEK_GUID, &long)]));
    assert_eq!(
        long,
        Err(CertificateTableError::TooLong(MAX_CERTIFICATE_BYTES + 1))
    );
    let endless: Vec<_> = (0..17).map(|_| (ASK_GUID, &b""[..])).collect();
    assert_eq!(
        certificate_table(&table(&endless)),
        Err(CertificateTableError::Endless)
    );
}
