//! Generates the gRPC code without `protoc`.

use std::{env, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/inventory.proto");
    let descriptors = protox::compile(["inventory.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|_| "cargo sets OUT_DIR")?);
    fs::write(out.join("inventory.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
