//! Generates the specimen's gRPC code without `protoc`.

use std::{env, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=specimen/proto/specimen.proto");
    let descriptors = protox::compile(["specimen.proto"], ["specimen/proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("specimen.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().build_client(false).compile_fds(descriptors)?;
    Ok(())
}
