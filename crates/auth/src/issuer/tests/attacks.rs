//! Whoever tries passwords, forges forms, or has others see what is not ours.

use std::time::Duration;

use super::{browser::*, *};

#[tokio::test]
async fn pages_run_nothing_and_stand_in_no_frame() {
    let provider = opened(&people()).await;
    let page = Browser::new(&provider).get(&request(&[])).await;
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for part in ["form-action 'self' https://app.example;", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part), "{part}: {policy}");
    }
    // The style that the policy names is the one that is there.
    let style = page.body.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, style.as_bytes()));
    assert!(policy.contains(&hash));
    for (name, value) in
        [("cache-control", "no-store"), ("x-frame-options", "DENY"), ("x-content-type-options", "nosniff")]
    {
        assert_eq!(page.header(name), value);
    }
    assert!(
        !page.body.contains("<script") && !page.body.contains("style=") && !page.body.contains("http"),
        "{}",
        page.body
    );
    for part in [
        "lang=\"en\"",
        "<label for=\"login\">",
        "<label for=\"password\">",
        "autocomplete=\"current-password\"",
    ] {
        assert!(page.body.contains(part), "{part}");
    }
}

#[tokio::test]
async fn what_a_request_brings_is_shown_as_text() {
    let evil = "\"><script>alert(1)</script>\u{202e}'&";
    let mut config = people();
    config.clients.get_mut("app").unwrap().name = Some(evil.to_owned());
    let provider = opened(&config.with_scope("openid", format!("know {evil}"))).await;
    let browser = Browser::new(&provider);
    let url = request(&[("client_id", "app"), ("login_hint", evil)]);
    let page = browser.get(&url).await;
    let failed = browser.log_in(&url, &page, evil, "wrong password").await;
    let consent = browser.log_in(&url, &page, "ada", PASSWORD).await;
    assert!(consent.body.contains("<li>know &quot;"), "{}", consent.body);
    for page in [page, failed, consent] {
        assert!(
            page.body.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&#39;&amp;"),
            "{}",
            page.body
        );
        assert!(!page.body.contains("<script") && !page.body.contains('\u{202e}'));
    }
}

#[tokio::test]
async fn a_form_that_is_not_from_our_page_does_nothing() {
    let provider = opened(&people()).await;
    let mut browser = Browser::new(&provider);
    let url = request(&[("client_id", "app")]);
    let page = browser.get(&url).await;
    let fields = |token: &str| {
        let fields = [("form_token", token), ("login", "ada"), ("password", PASSWORD), ("action", "login")];
        posted(&url, &fields)
    };
    let of_another = form_token(&Browser::new(&provider).get(&url).await);
    for token in ["", "made up", of_another.as_str()] {
        let answer = browser.send(fields(token)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{token}");
        assert!(answer.body.contains("value=\"ada\""), "what was typed is kept: {}", answer.body);
        assert!(!answer.body.contains(PASSWORD));
    }
    let token = form_token(&page);
    assert_eq!(provider.ask(fields(&token)).await.status, StatusCode::FORBIDDEN, "without the cookie");
    for header in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        browser.headers = vec![header];
        let answer = browser.send(fields(&token)).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{header:?}");
        assert!(!answer.body.contains("value=\"ada\""), "another site fills in nothing: {header:?}");
    }
    assert!(!browser.cookies().contains_key("mainstay-session"));
    browser.headers = vec![("sec-fetch-site", "same-origin"), ("origin", "http://127.0.0.1:9400")];
    let consent = browser.send(fields(&token)).await;
    assert!(consent.body.contains("asks to act for you"));
    // Nor does a consent.
    browser.headers.clear();
    let forged = browser.send(posted(&url, &[("form_token", "made up"), ("action", "allow")])).await;
    assert_eq!(forged.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn cookies_are_for_the_browser_and_this_origin_alone() {
    for (issuer, names, secure) in [
        ("https://id.example", ["__Host-mainstay-form", "__Host-mainstay-session"], true),
        (ISSUER, ["mainstay-form", "mainstay-session"], false),
    ] {
        let provider = opened(&Config { issuer: issuer.to_owned(), ..people() }).await;
        let browser = Browser::new(&provider);
        let url = request(&[]);
        let page = browser.get(&url).await;
        let logged_in = browser.log_in(&url, &page, "ada", PASSWORD).await;
        for (answer, name) in [page, logged_in].iter().zip(names) {
            let set = answer.header("set-cookie");
            assert!(set.starts_with(&format!("{name}=")), "{set}");
            assert!(
                set.contains("; Path=/;") && set.contains("; HttpOnly") && set.contains("; SameSite=Lax"),
                "{set}"
            );
            assert_eq!(set.contains("; Secure"), secure);
        }
        // A login begins under a new name, so that nobody can lay one out beforehand.
        let before = browser.cookies()[names[1]].clone();
        let url = request(&[("prompt", "login")]);
        let page = browser.get(&url).await;
        browser.log_in(&url, &page, "ada", PASSWORD).await;
        let after = browser.cookies()[names[1]].clone();
        assert_ne!(before, after);
        browser.forget(names[1]);
        let mut stale = Request::get(request(&[("prompt", "none")])).body(Body::empty()).unwrap();
        stale.headers_mut().insert(header::COOKIE, format!("{}={before}", names[1]).parse().unwrap());
        assert_eq!(
            Back::of(&provider.ask(stale).await).field("error"),
            "login_required",
            "the earlier one has ended"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_tries_passwords_has_to_wait_and_learns_nothing() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    let url = request(&[]);
    let page = browser.get(&url).await;
    for login in ["ada", "nobody"] {
        let mut shown = Vec::new();
        for _ in 0..5 {
            let answer = browser.log_in(&url, &page, login, "a wrong one").await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN);
            shown.push(answer.body.replace(login, "somebody"));
        }
        assert!(shown[0].contains("The user name or the password is wrong."));
        let answer = browser.log_in(&url, &page, login, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "also with the right one");
        assert!(answer.body.contains("Please wait 4 seconds."), "{}", answer.body);
    }
    let bob = browser.log_in(&url, &page, "bob", "another password").await;
    assert_eq!(bob.status, StatusCode::SEE_OTHER, "others log in meanwhile");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let url = request(&[("prompt", "login")]);
    assert_eq!(browser.log_in(&url, &page, "ada", PASSWORD).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn whoever_tries_many_users_from_one_address_has_to_wait() {
    let provider = opened(&Config { failures_of_address: 3, ..people() }).await;
    let browser = Browser::new(&provider);
    let url = request(&[]);
    let page = browser.get(&url).await;
    let token = form_token(&page);
    let attempt = async |address: &str, login: &str, password: &str| {
        let fields =
            [("form_token", token.as_str()), ("login", login), ("password", password), ("action", "login")];
        let mut request = posted(&url, &fields);
        let address: std::net::SocketAddr = address.parse().unwrap();
        request.extensions_mut().insert(axum::extract::ConnectInfo(address));
        browser.send(request).await.status
    };
    for number in 0..3 {
        let login = format!("user{number}");
        assert_eq!(attempt("192.0.2.1:1000", &login, "a wrong one").await, StatusCode::FORBIDDEN);
    }
    assert_eq!(attempt("192.0.2.1:2000", "ada", PASSWORD).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(attempt("192.0.2.2:1000", "ada", PASSWORD).await, StatusCode::SEE_OTHER);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_end_is_not_waited_for() {
    let provider = opened(&people()).await;
    let began = tokio::time::Instant::now();
    for path in ["/token", "/introspect", "/revoke"] {
        let mut request = posted(path, &[]);
        *request.body_mut() =
            Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
        assert_eq!(provider.ask(request).await.refusal(), (400, "invalid_request".to_owned()));
    }
    assert_eq!(began.elapsed(), Duration::from_secs(30));
}

#[tokio::test]
async fn what_is_remembered_can_not_be_used_by_who_reads_it() {
    let provider = opened(&people()).await;
    let browser = Browser::new(&provider);
    let code = browser.code(&[("scope", "openid offline_access")]).await;
    let refresh = provider.redeem(&code, &[]).await.text("refresh_token");
    let kept = provider.store().dump();
    assert!(kept.len() >= 4, "{kept:?}");
    let cookie = browser.cookies()["mainstay-session"].clone();
    for secret in [&code, &refresh, &cookie, VERIFIER, PASSWORD, SECRET] {
        assert!(!kept.iter().any(|record| record.contains(secret)), "{secret}: {kept:?}");
    }
    let debug = format!("{provider:?} {:?}", provider.0.config);
    for secret in [PASSWORD, SECRET] {
        assert!(!debug.contains(secret), "{debug}");
    }
}
