//! Bytes that nobody meant.

use axum::{Router, body::Bytes};
use mainstay_core::server::Config;
use proptest::{collection::vec, prelude::*};

use crate::support::{PREFACE, config, frame, get, headers, start};

/// Pieces of protocols, so that random input gets past the first check.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        b"GET / HTTP/1.1\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec(),
        b"Host: a\r\n".to_vec(),
        b"Content-Length: 5\r\n".to_vec(),
        b"Transfer-Encoding: chunked\r\n".to_vec(),
        b"Expect: 100-continue\r\n".to_vec(),
        b"Connection: upgrade\r\nUpgrade: websocket\r\n".to_vec(),
        b"\r\n".to_vec(),
        b"5\r\nhello\r\n0\r\n\r\n".to_vec(),
        get("/").into_bytes(),
        PREFACE.to_vec(),
        frame(4, 0, 0, &[]),
        frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]),
        headers(1, true, "GET", "/"),
        headers(3, false, "POST", "/"),
        frame(0, 1, 3, b"hello"),
        frame(3, 0, 1, &[0, 0, 0, 8]),
        frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        frame(9, 4, 1, b""),
        vec![22, 3, 1, 2, 0, 1],
    ]);
    let framed = (0u8..12, any::<u8>(), 0u32..6, vec(any::<u8>(), 0..40))
        .prop_map(|(kind, flags, stream, payload)| frame(kind, flags, stream, &payload));
    prop_oneof![4 => known, 2 => framed, 1 => vec(any::<u8>(), 0..60)]
}

fn quick() -> Config {
    let mut config = config();
    let short = mainstay_core::config::Duration::from_millis(50);
    config.bounds.first_byte = short;
    config.bounds.detect = short;
    config.bounds.header_read = short;
    config.bounds.body_idle = short;
    config.bounds.keep_alive_idle = short;
    config
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_arrives_every_connection_ends_and_others_are_served(
        inputs in vec((any::<bool>(), vec(piece(), 0..8)), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = start(&quick(), Router::new().fallback(axum::routing::any(|body: Result<Bytes, _>| async move {
                body.map_err(|_: axum::extract::rejection::BytesRejection| "no body")
            })));
            let mut peers = Vec::new();
            for (hello, pieces) in &inputs {
                let mut peer = server.connect().await;
                if *hello {
                    peer.try_send([PREFACE, &frame(4, 0, 0, &[])].concat()).await;
                }
                for piece in pieces {
                    peer.try_send(piece).await;
                }
                peers.push(peer);
            }
            let mut other = server.connect().await;
            other.send(get("/")).await;
            assert_eq!(other.answer().await.status, 200);
            for peer in &mut peers {
                // Ends by the bounds alone.
                peer.rest().await;
            }
            let summary = server.stop().await;
            assert_eq!((summary.counted.open, summary.counted.panicked, summary.left), (0, 0, 0));
        });
    }
}
