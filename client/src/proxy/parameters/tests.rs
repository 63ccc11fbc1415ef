use std::collections::BTreeSet;

use super::*;

#[test]
fn every_row_is_reached() {
    for row in PARAMETERS {
        let name = row.name.replace('*', "anything");
        for endpoint in row.endpoints {
            assert_eq!(fate(*endpoint, &name), Some(row.fate), "{name}");
        }
    }
}

#[test]
fn neutral_values_are_json() {
    for row in PARAMETERS {
        if let Fate::Refused { unless, .. } = row.fate {
            for json in unless {
                let value: Value = serde_json::from_str(json).unwrap();
                assert!(Fate::is_neutral(unless, &value), "{}: {json}", row.name);
                assert!(!Fate::is_neutral(unless, &"else".into()), "{}", row.name);
            }
        }
    }
    assert!(Fate::is_neutral(&["1"], &1.0.into()));
    assert!(!Fate::is_neutral(&["1"], &true.into()));
}

#[test]
fn the_manual_names_every_parameter() {
    let manual = include_str!("../../../../docs/client.md");
    // Between backquotes, and the last part of a path.
    let named: BTreeSet<&str> = manual.split('`').skip(1).step_by(2).collect();
    for row in PARAMETERS {
        let name = row.name.rsplit('.').next().unwrap();
        assert!(
            name == "*" || named.contains(row.name) || named.contains(name),
            "{}",
            row.name
        );
    }
}
