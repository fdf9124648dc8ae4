//! `src/etcd/protocol.rs` is generated from `src/etcd/protocol.proto` here, so that nobody who builds this crate needs
//! a compiler for protocol buffers. After a change, write it with `UPDATE_GENERATED=1`.

use std::{fs, path::Path};

#[test]
fn the_generated_protocol_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/etcd");
    let out = tempfile::tempdir().unwrap();
    let files = protox::compile([folder.join("protocol.proto")], [&folder]).unwrap();
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .out_dir(out.path())
        .compile_fds(files)
        .unwrap();
    let generated = fs::read_to_string(out.path().join("etcdserverpb.rs")).unwrap();
    let written = folder.join("protocol.rs");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&written, &generated).unwrap();
    }
    assert!(
        fs::read_to_string(&written).unwrap() == generated,
        "{} is not what protocol.proto generates: UPDATE_GENERATED=1 cargo test -p mainstay-discovery --test \
         etcd_protocol",
        written.display()
    );
}
