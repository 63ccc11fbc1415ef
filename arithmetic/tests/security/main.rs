//! The security that the table of parameter sets promises is what the estimate says.

// An attack's fields are for who reads the estimate, not all for this test.
#[allow(dead_code)]
mod estimate;

use talaria_arithmetic::module_lwe::PARAMETERS;

#[test]
fn the_table_says_what_the_estimate_says() {
    for set in &PARAMETERS {
        let found = estimate::security_bits((set.degree * set.rank) as u32);
        assert_eq!(set.security_bits, found, "{}", set.name);
        assert!(found >= 128, "{}", set.name);
    }
    assert!(estimate::security_bits(1024 * 2) < 128);
}
