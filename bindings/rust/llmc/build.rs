//! Finds libllmc: in the folder LLMC_LIB_DIR, or else by pkg-config. With pkg-config, LLMC_STATIC=1 links libllmc.a instead of libllmc.so.
use std::process::Command;

fn main() {
    for variable in ["LLMC_LIB_DIR", "LLMC_STATIC", "PKG_CONFIG_PATH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let folder = std::env::var("LLMC_LIB_DIR").ok();
    let fixed = folder.is_none() && std::env::var("LLMC_STATIC").is_ok_and(|value| value == "1");
    let flags = folder.map_or_else(|| pkg_config(fixed), |folder| format!("-L{folder} -lllmc"));
    for flag in flags.split_whitespace() {
        if let Some(folder) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={folder}");
            // For this package's own tests and examples; other packages find an installed library as any program does.
            println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
        } else if let Some(library) = flag.strip_prefix("-l") {
            let kind = if fixed && library == "llmc" { "static" } else { "dylib" };
            println!("cargo:rustc-link-lib={kind}={library}");
        }
    }
}

fn pkg_config(fixed: bool) -> String {
    let mut command = Command::new("pkg-config");
    command.args(["--libs", "llmc >= 0.1"]).args(fixed.then_some("--static"));
    let output = command.output().unwrap_or_else(|problem| {
        panic!("llmc: pkg-config cannot be run ({problem}); set LLMC_LIB_DIR to the folder of libllmc.so")
    });
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "llmc: libllmc is not installed where pkg-config looks (PKG_CONFIG_PATH); or set LLMC_LIB_DIR\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    found
}
