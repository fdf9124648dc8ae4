//! What the service itself is asked for.

use serde_json::{Value, json};

use crate::harness::{Forwarder, StandIn};

#[test]
fn what_is_wrong_with_the_list_is_said() {
    let (service, standin) = (Forwarder::start(), StandIn::start());
    let post = |url: &str| json!({ "url": url, "arguments": [] });
    let many = Value::from(vec![post(&standin.url("/")); 65]);
    for (body, field, detail) in [
        ("", "body", "a list of `url` and `arguments`"),
        ("{}", "body", "a list of `url` and `arguments`"),
        (r#"[{"url": "http://127.0.0.1/"}]"#, "body", "arguments"),
        (&*many.to_string(), "body", "at most 64"),
        (&*json!([post("not a URL")]).to_string(), "[0].url", "a URL"),
        (&*json!([post("/path")]).to_string(), "[0].url", "a URL with a host"),
        (&*json!([post("https://127.0.0.1/")]).to_string(), "[0].url", "http://host:port/path"),
        (&*json!([post("http://u@127.0.0.1/")]).to_string(), "[0].url", "http://host:port/path"),
        (&*json!([post("http://127.0.0.1:70000/")]).to_string(), "[0].url", "a port up to 65535"),
    ] {
        let (status, answer) = service.post(&[], body);
        let problem: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{body}: {answer}");
        assert!(problem["errors"][0]["detail"].as_str().unwrap().contains(detail), "{body}: {answer}");
    }
    assert!(standin.is_left_alone());
    assert_eq!(service.post(&[], "[]").0, 200);
}

#[test]
fn nobody_makes_it_remember_any_number_of_places() {
    let service = Forwarder::start_with(&["client.retry.max_attempts=1"]);
    let standin = StandIn::start();
    let post = |url: &str| service.post(&[], &json!([{ "url": url, "arguments": [] }]).to_string()).0;
    assert_eq!(post(&standin.url("/")), 200);
    // Of 127.0.0.0/8, all of which is loopback, the stand-in listens on the first address only.
    let others = (2..=5).flat_map(|third| (0..256).map(move |last| format!("127.0.{third}.{last}")));
    let mut others = others.map(|host| standin.url("/").replace("127.0.0.1", &host));
    assert!(others.by_ref().take(1023).all(|url| post(&url) >= 500));
    assert_eq!(post(&others.next().unwrap()), 422);
    assert_eq!(post(&standin.url("/again")), 200);
}
