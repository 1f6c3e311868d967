//! What the tests share.
#![allow(dead_code)] // each test uses some of it
use std::path::{Path, PathBuf};

pub const GPTQ: &str =
    "s_stage: {m_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";

pub fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/micro-llama")
}

/// A folder that goes away with its test.
pub struct Scratch(PathBuf);
impl Scratch {
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("llmc-rust-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    pub fn is_empty(&self) -> bool {
        std::fs::read_dir(&self.0).unwrap().next().is_none()
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn sequences() -> Vec<Vec<i32>> {
    (0..8).map(|s| (0..32).map(|i| (s * 37 + i * i * 7 + i * 31 + 3) % 251).collect()).collect()
}

pub fn weights(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}
