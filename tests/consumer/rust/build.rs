//! LLMC_LIB_DIR: the folder of libllmc.so.
fn main() {
    let folder = std::env::var("LLMC_LIB_DIR").expect("LLMC_LIB_DIR is not set");
    println!("cargo:rerun-if-env-changed=LLMC_LIB_DIR");
    println!("cargo:rustc-link-search=native={folder}");
    println!("cargo:rustc-link-lib=dylib=llmc");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
}
