use super::*;

fn statement() -> Statement {
    Statement {
        payload_sha256: [1; 32],
        model_digest: [2; 32],
        masking: "shares".into(),
        request_digest: [3; 32],
        reply_digest: [4; 32],
        seed: 5,
        prompt_tokens: 6,
        completion_tokens: 7,
        finish_reason: FinishReason::Stop,
        logits_digest: Some([8; 32]),
    }
}

#[test]
fn every_field_is_signed() {
    let key = SigningKey::from_bytes(&[8; 32]);
    let public = key.verifying_key().to_bytes();
    let receipt = Receipt::sign(statement(), &key);
    assert_eq!(receipt.verify(&public), Ok(&statement()));
    let changes: [fn(&mut Statement); 11] = [
        |s| s.payload_sha256[31] ^= 1,
        |s| s.model_digest[0] ^= 1,
        |s| s.masking.push('x'),
        |s| s.request_digest[0] ^= 1,
        |s| s.reply_digest[0] ^= 1,
        |s| s.seed ^= 1,
        |s| s.prompt_tokens ^= 1,
        |s| s.completion_tokens ^= 1,
        |s| s.finish_reason = FinishReason::Length,
        |s| s.logits_digest = None,
        |s| s.logits_digest = Some([9; 32]),
    ];
    for change in changes {
        let mut changed = receipt.clone();
        change(&mut changed.statement);
        assert_eq!(changed.verify(&public), Err(Forged));
    }
}

#[test]
fn every_flip_of_the_signature_is_refused() {
    let key = SigningKey::from_bytes(&[8; 32]);
    let receipt = Receipt::sign(statement(), &key);
    for bit in 0..512 {
        let mut changed = receipt.clone();
        changed.signature[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(changed.verify(&key.verifying_key().to_bytes()), Err(Forged));
    }
}

#[test]
fn another_key_is_refused() {
    let receipt = Receipt::sign(statement(), &SigningKey::from_bytes(&[8; 32]));
    let other = SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes();
    assert_eq!(receipt.verify(&other), Err(Forged));
    assert_eq!(receipt.verify(&[0; 32]), Err(Forged));
}

#[test]
fn a_reply_is_its_tokens_in_order_with_their_texts() {
    let digest = |tokens: &[(u32, &str)]| {
        let mut reply = Reply::default();
        tokens.iter().for_each(|(id, text)| reply.push(*id, text));
        reply.digest()
    };
    let expected = digest(&[(1, "a"), (2, "b")]);
    assert_eq!(digest(&[(1, "a"), (2, "b")]), expected);
    for other in [
        &[(1, "a")][..],
        &[(2, "b"), (1, "a")],
        &[(1, "ab"), (2, "")],
        &[(1, "a"), (3, "b")],
    ] {
        assert_ne!(digest(other), expected);
    }
}

#[test]
fn json_is_read_as_it_was_written() {
    let key = SigningKey::from_bytes(&[8; 32]);
    for logits_digest in [None, Some([9; 32])] {
        let statement = Statement {
            logits_digest,
            ..statement()
        };
        let receipt = Receipt::sign(statement, &key);
        let json = serde_json::to_string(&receipt).unwrap();
        assert!(json.contains(r#""finish_reason":"stop""#), "{json}");
        assert_eq!(serde_json::from_str::<Receipt>(&json).unwrap(), receipt);
        // Not only from text that can be borrowed.
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::from_value::<Receipt>(value).unwrap(), receipt);
    }
}

/// What receipts that were kept are verified by.
#[test]
fn a_message_is_its_fields_each_after_its_length() {
    let message = |logits_digest: &[u8]| {
        let mut message = b"talaria-receipt-v1".to_vec();
        for field in [
            &[1; 32][..],
            &[2; 32],
            b"shares",
            &[3; 32],
            &[4; 32],
            &[5, 0, 0, 0, 0, 0, 0, 0],
            &[6, 0, 0, 0],
            &[7, 0, 0, 0],
            b"stop",
            logits_digest,
        ] {
            message.extend([field.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
            message.extend(field);
        }
        message
    };
    assert_eq!(statement().message(), message(&[8; 32]));
    let without = Statement {
        logits_digest: None,
        ..statement()
    };
    assert_eq!(without.message(), message(&[]));
}

#[test]
fn a_reply_follows_its_definition() {
    let mut reply = Reply::default();
    reply.push(258, "ab");
    let whole = b"talaria-reply-v1\x02\x01\0\0\x02\0\0\0\0\0\0\0ab";
    assert_eq!(reply.digest(), *Sha256::digest(whole));
}

/// Of the neutral element as key and as commitment, with a zero: right for every message, but for strict verification.
#[test]
fn a_key_of_low_order_signs_nothing() {
    let neutral = |i| u8::from(i == 0);
    let receipt = Receipt {
        statement: statement(),
        signature: core::array::from_fn(neutral),
    };
    assert_eq!(receipt.verify(&core::array::from_fn(neutral)), Err(Forged));
}
