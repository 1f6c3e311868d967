//! Whole permutations against numpy's, recorded as hashes: the last row of 207,865 counts as much as the first.

use llmc_text::shuffle::permutation;
use sha2::{Digest, Sha256};

#[test]
fn every_recorded_permutation_has_numpys_hash() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/shuffle.json");
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let (seed, n) = (case["seed"].as_u64().unwrap(), case["n"].as_u64().unwrap() as usize);
        let order = permutation(seed, n);
        let mut hash = Sha256::new();
        for row in &order {
            hash.update((*row as i64).to_le_bytes());
        }
        let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, case["sha256_int64_le"].as_str().unwrap(), "seed {seed}, n {n}");
    }
}
