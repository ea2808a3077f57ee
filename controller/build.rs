//! Hands the eBPF object that `cargo xtask build-ebpf` made to the compiler.

use std::path::PathBuf;

fn main() {
    println!("cargo::rerun-if-env-changed=FORWARDER_EBPF_OBJECT");
    let object = std::env::var_os("FORWARDER_EBPF_OBJECT").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/forwarder"),
        PathBuf::from,
    );
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(path) => println!("cargo::rustc-env=FORWARDER_EBPF_OBJECT={}", path.display()),
        Err(error) => println!(
            "cargo::error=the eBPF object {} is missing ({error}): run `cargo xtask build-ebpf` first",
            object.display()
        ),
    }
}
