//! AUTH: who is let in. The suite stands in for the issuer, and for those who would like to be it.

use std::time::Duration;

use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    check::{Check, Evidence, Finding, Miss, check},
    problem::{Trace, problem},
    settings::Route,
    subject::{Subject, exchange, skipped},
    token::{Draft, Key, now, random},
    wire::{PATIENCE, grpc, http1::Answer, issuer::Issuer},
};

pub(crate) static CHECKS: &[Check] = &[
    check!("AUTH.1.closed", "a closed route answers 401 to who has no token", [ClosedRoute], closed),
    check!("AUTH.1.public", "a public route answers who has no token", [PublicRoute], public),
    check!(
        "AUTH.2.challenge",
        "who has no token is told to bring one, and of no error",
        [ClosedRoute],
        challenge
    ),
    check!("AUTH.2.accepted", "who has a valid token is let in", [ClosedRoute, Token], accepted),
    check!("AUTH.2.invalid", "rubbish for a token is told to be invalid", [ClosedRoute], invalid),
    check!(
        "AUTH.2.scope",
        "a valid token without the scope is 403, and the scope is named",
        [ScopedRoute, Issuer],
        scope
    ),
    check!(
        "AUTH.2.grpc",
        "over gRPC who has no token is UNAUTHENTICATED, and who has one is not",
        [ClosedGrpc, Token],
        over_grpc
    ),
    check!(
        "AUTH.2.grpc-scope",
        "over gRPC a valid token without the scope is PERMISSION_DENIED",
        [ScopedGrpc, Issuer],
        scope_over_grpc
    ),
    check!(
        "AUTH.3.none",
        "a token without signature is refused, however it says so",
        [ClosedRoute, Issuer],
        none
    ),
    check!(
        "AUTH.3.confusion",
        "a token by HMAC with the public key for a secret is refused",
        [ClosedRoute, Issuer],
        confusion
    ),
    check!("AUTH.3.embedded", "a token that brings its own key is refused", [ClosedRoute, Issuer], embedded),
    check!(
        "AUTH.3.lure",
        "a token that says where its key is, is refused, and nobody looks there",
        [ClosedRoute, Issuer],
        lure
    ),
    check!("AUTH.3.crit", "a token with an unknown `crit` is refused", [ClosedRoute, Issuer], crit),
    check!(
        "AUTH.3.signature",
        "a token whose signature is another's, or of other claims, is refused",
        [ClosedRoute, Issuer],
        signature
    ),
    check!(
        "AUTH.3.audience",
        "a token for another service, or for none, is refused",
        [ClosedRoute, Issuer],
        audience
    ),
    check!("AUTH.3.issuer", "a token of another issuer is refused", [ClosedRoute, Issuer], issuer),
    check!(
        "AUTH.3.time",
        "a token that has expired, never does, or is not valid yet, is refused",
        [ClosedRoute, Issuer],
        time
    ),
    check!("AUTH.3.typ", "a JWT that is no access token is refused", [ClosedRoute, Issuer], typ),
    check!(
        "AUTH.4.rotation",
        "a token by a new key is let in at once, and those by the earlier one still are",
        [ClosedRoute, Issuer],
        rotation
    ),
    check!(
        "AUTH.4.away",
        "while the issuer is away, tokens by a known key are let in",
        [ClosedRoute, Issuer],
        away
    ),
    check!(
        "AUTH.4.hammer",
        "tokens with made-up keys make it ask the issuer once a second at most",
        [ClosedRoute, Issuer],
        hammer
    ),
];

const CHALLENGE: &str = "www-authenticate";

/// How far beyond a bound a date is that no leeway makes up for.
const FAR: u64 = 3600;

/// Tokens with made-up keys, and how many are under way at a time.
const MADE_UP: usize = 200;
const AT_ONCE: usize = 20;

/// How long a service may rest after it has asked for keys.
const REST: Duration = Duration::from_secs(2);

async fn closed(subject: &Subject) -> Finding {
    subject
        .send(&closed_route(subject)?.request().anonymous().traced())
        .await
        .expect("401 application/problem+json", |answer| problem(answer, &[401], Trace::Sent))
}

async fn public(subject: &Subject) -> Finding {
    let route = subject.settings.public_route.as_ref().ok_or_else(|| skipped("needs --public-route"))?;
    subject.send(&route.request().anonymous()).await.expect("2xx", success)
}

/// RFC 6750 section 3: no error code where nothing was brought.
async fn challenge(subject: &Subject) -> Finding {
    let expected = "401 with `www-authenticate: Bearer`, without `error`";
    subject.send(&closed_route(subject)?.request().anonymous()).await.expect(expected, |answer| {
        let challenge = challenged(answer, 401)?;
        match parameter(&challenge, "error") {
            Some(error) => {
                Err(format!("it has error=\"{error}\", and there was nothing that could be wrong"))
            }
            None => Ok(()),
        }
    })
}

async fn accepted(subject: &Subject) -> Finding {
    subject.send(&closed_route(subject)?.request()).await.expect("2xx", success)
}

async fn invalid(subject: &Subject) -> Finding {
    let request = closed_route(subject)?.request().bearing("rubbish");
    subject.send(&request).await.expect("401 with error=\"invalid_token\"", invalid_token)
}

/// RFC 6750 section 3.1.
async fn scope(subject: &Subject) -> Finding {
    let route = subject.settings.scoped_route.as_ref().ok_or_else(|| skipped("needs --scoped-route"))?;
    subject.send(&route.request()).await.expect("2xx with a token of --scope", success)?;
    let without = signed(of(subject)?.token(""))?;
    let expected = "403 with error=\"insufficient_scope\" and scope=\"...\"";
    subject.send(&route.request().bearing(&without)).await.expect(expected, |answer| {
        let challenge = challenged(answer, 403)?;
        if parameter(&challenge, "error").as_deref() != Some("insufficient_scope") {
            return Err("error=\"insufficient_scope\" is missing".to_owned());
        }
        let named = parameter(&challenge, "scope").unwrap_or_default();
        let wanted = &subject.settings.scope;
        match named.split(' ').all(|word| !word.is_empty() && wanted.split(' ').any(|one| one == word)) {
            true => Ok(()),
            false => Err(format!("scope=\"{named}\" names none of --scope `{wanted}`")),
        }
    })
}

async fn over_grpc(subject: &Subject) -> Finding {
    let method = subject.settings.closed_grpc.as_deref().unwrap_or_default();
    let stranger = subject.main().clone().with_token(None);
    status(&stranger, method, "without a token", "UNAUTHENTICATED", |code| code == grpc::UNAUTHENTICATED)
        .await?;
    status(
        subject.main(),
        method,
        "with a valid token",
        "neither UNAUTHENTICATED nor PERMISSION_DENIED",
        |code| code != grpc::UNAUTHENTICATED && code != grpc::PERMISSION_DENIED,
    )
    .await
}

async fn scope_over_grpc(subject: &Subject) -> Finding {
    let method = subject.settings.scoped_grpc.as_deref().unwrap_or_default();
    let without = signed(of(subject)?.token(""))?;
    let without = subject.main().clone().with_token(Some(without));
    status(&without, method, "with a token without scope", "PERMISSION_DENIED", |code| {
        code == grpc::PERMISSION_DENIED
    })
    .await?;
    status(
        subject.main(),
        method,
        "with a token of --scope",
        "neither UNAUTHENTICATED nor PERMISSION_DENIED",
        |code| code != grpc::UNAUTHENTICATED && code != grpc::PERMISSION_DENIED,
    )
    .await
}

async fn status(
    endpoint: &super::wire::Endpoint,
    method: &str,
    who: &str,
    expected: &str,
    is_right: impl FnOnce(u32) -> bool,
) -> Finding {
    let outcome = grpc::call(endpoint, &format!("/{method}"), &[], None, PATIENCE).await;
    let sent = format!("an empty message to {method}, {who}");
    match outcome {
        Ok(outcome) => Evidence::new(sent, expected, outcome.summary()).judge(match outcome.code {
            Some(code) if is_right(code) => Ok(()),
            Some(code) => Err(format!("grpc-status is {code}")),
            None => Err("the answer has no grpc-status".to_owned()),
        }),
        Err(trouble) => Evidence::new(sent, expected, trouble.to_string()).judge(Err(trouble.to_string())),
    }
}

/// RFC 8725 section 3.1 and RFC 7519 section 6.
async fn none(subject: &Subject) -> Finding {
    let mut tokens = Vec::new();
    for spelling in ["none", "None", "NONE", "nOnE", " none", ""] {
        let draft = draft(subject)?.header("alg", json!(spelling));
        for signature in ["", "AAAA"] {
            tokens.push((format!("`alg` is {spelling:?}"), format!("{}.{signature}", draft.message())));
        }
    }
    tokens.push(("no third part".to_owned(), draft(subject)?.header("alg", json!("none")).message()));
    refused(subject, tokens).await
}

/// RFC 8725 section 2.1.
async fn confusion(subject: &Subject) -> Finding {
    let key = signed(of(subject)?.key())?;
    let draft = draft(subject)?.header("alg", json!("HS256"));
    let forms = ["its PEM", "its PEM without the last line end", "its DER", "its point", "its JWK"];
    let secrets = signed(key.as_secrets())?;
    let tokens = forms.iter().zip(secrets).map(|(form, secret)| {
        (format!("HS256, the secret is the public key: {form}"), draft.sign_with(&secret))
    });
    refused(subject, tokens.collect()).await
}

async fn embedded(subject: &Subject) -> Finding {
    let own = signed(Key::new())?;
    let draft = draft(subject)?.header("jwk", own.jwk());
    let named = draft.clone().header("kid", json!(own.id));
    let mut unnamed = draft.clone();
    if let Some(header) = unnamed.header.as_object_mut() {
        header.remove("kid");
    }
    let mut tokens = Vec::new();
    for (what, draft) in [
        ("its own key in `jwk`, under the name of the issuer's", draft),
        ("its own key in `jwk`, under its own name", named),
        ("its own key in `jwk`, without a name", unnamed),
    ] {
        tokens.push((what.to_owned(), signed(own.sign(&draft))?));
    }
    refused(subject, tokens).await
}

async fn lure(subject: &Subject) -> Finding {
    let issuer = of(subject)?;
    let own = signed(Key::new())?;
    let path = format!("/{}", signed(random())?);
    let url = format!("{}{path}", issuer.url());
    let mut tokens = Vec::new();
    for name in ["jku", "x5u"] {
        let draft = draft(subject)?.header(name, json!(url)).header("kid", json!(own.id));
        tokens.push((format!("its own key, said to be at `{name}`"), signed(own.sign(&draft))?));
    }
    let evidence = refused(subject, tokens).await?;
    match issuer.asked(&path) {
        0 => Ok(evidence),
        count => Err(Miss::Failed { evidence, why: format!("it looked there, {count} times") }),
    }
}

/// RFC 7515 section 4.1.11.
async fn crit(subject: &Subject) -> Finding {
    let mut tokens = Vec::new();
    for (what, value) in
        [("unknown", json!(["exp-strictly"])), ("empty", json!([])), ("no list", json!("b64"))]
    {
        let draft = draft(subject)?.header("crit", value).header("exp-strictly", json!(true));
        tokens.push((format!("`crit` is {what}"), signed(signed(of(subject)?.key())?.sign(&draft))?));
    }
    refused(subject, tokens).await
}

async fn signature(subject: &Subject) -> Finding {
    let key = signed(of(subject)?.key())?;
    let other = signed(Key::new())?;
    let draft = draft(subject)?;
    let mine = signed(key.sign(&draft))?;
    let signature = mine.rsplit('.').next().unwrap_or_default();
    let elevated = draft.clone().claim("sub", json!("somebody else"));
    let psychic = "A".repeat(86);
    let tokens = vec![
        ("another key under the name of the issuer's".to_owned(), signed(other.sign(&draft))?),
        ("other claims than were signed".to_owned(), format!("{}.{signature}", elevated.message())),
        ("a signature of zeros".to_owned(), format!("{}.{psychic}", draft.message())),
        ("no signature".to_owned(), format!("{}.", draft.message())),
        ("a part more".to_owned(), format!("{mine}.{signature}")),
        ("padding".to_owned(), format!("{mine}==")),
    ];
    refused(subject, tokens).await
}

async fn audience(subject: &Subject) -> Finding {
    let mut tokens = vec![
        ("`aud` is another".to_owned(), draft(subject)?.claim("aud", json!("somebody-else"))),
        ("`aud` is a list of others".to_owned(), draft(subject)?.claim("aud", json!(["a", "b"]))),
        ("`aud` is empty".to_owned(), draft(subject)?.claim("aud", json!([]))),
    ];
    tokens.push(("no `aud`".to_owned(), without(draft(subject)?, "aud")));
    refused_drafts(subject, tokens).await
}

async fn issuer(subject: &Subject) -> Finding {
    let url = of(subject)?.url().to_owned();
    let tokens = vec![
        ("`iss` is another".to_owned(), draft(subject)?.claim("iss", json!("https://id.example"))),
        ("`iss` ends in a slash".to_owned(), draft(subject)?.claim("iss", json!(format!("{url}/")))),
        ("`iss` is a list".to_owned(), draft(subject)?.claim("iss", json!([url, "https://id.example"]))),
        ("no `iss`".to_owned(), without(draft(subject)?, "iss")),
    ];
    refused_drafts(subject, tokens).await
}

async fn time(subject: &Subject) -> Finding {
    let now = now();
    let tokens = vec![
        ("`exp` was an hour ago".to_owned(), draft(subject)?.claim("exp", json!(now - FAR))),
        ("`exp` is a text".to_owned(), draft(subject)?.claim("exp", json!((now + FAR).to_string()))),
        ("no `exp`".to_owned(), without(draft(subject)?, "exp")),
        ("`nbf` is in an hour".to_owned(), draft(subject)?.claim("nbf", json!(now + FAR))),
    ];
    refused_drafts(subject, tokens).await
}

/// RFC 9068 section 4.
async fn typ(subject: &Subject) -> Finding {
    let mut tokens = Vec::new();
    for typ in ["logout+jwt", "secevent+jwt", "dpop+jwt"] {
        tokens.push((format!("`typ` is {typ}"), draft(subject)?.header("typ", json!(typ))));
    }
    refused_drafts(subject, tokens).await
}

async fn rotation(subject: &Subject) -> Finding {
    let issuer = of(subject)?;
    let route = closed_route(subject)?;
    let earlier = signed(issuer.token(&subject.settings.scope))?;
    subject.send(&route.request().bearing(&earlier)).await.expect("2xx by the earlier key", success)?;
    sleep(REST).await;
    signed(issuer.rotate())?;
    let new = signed(issuer.token(&subject.settings.scope))?;
    let evidence =
        subject.send(&route.request().bearing(&new)).await.expect("2xx by the new key", success)?;
    subject.send(&route.request().bearing(&earlier)).await.expect("2xx by the earlier key", success)?;
    Ok(evidence)
}

async fn away(subject: &Subject) -> Finding {
    struct Back<'a>(&'a Issuer);
    impl Drop for Back<'_> {
        fn drop(&mut self) {
            self.0.be_away(false);
        }
    }
    let issuer = of(subject)?;
    let route = closed_route(subject)?;
    let seen = signed(issuer.token(&subject.settings.scope))?;
    let seen = subject.send(&route.request().bearing(&seen)).await;
    if !seen.came.as_ref().is_ok_and(Answer::is_success) {
        return Err(skipped(format!("a token by its key is not let in while it is there: {}", seen.shown())));
    }
    issuer.be_away(true);
    let _back = Back(issuer);
    // It asks now, if it ever does for such a token.
    let unknown = signed(Key::new())?;
    let unknown = signed(unknown.sign(&draft(subject)?.header("kid", json!(unknown.id))))?;
    subject.send(&route.request().bearing(&unknown)).await.expect("an answer other than 2xx", |answer| {
        if answer.is_success() { Err("it was let in".to_owned()) } else { Ok(()) }
    })?;
    let known = signed(issuer.token(&subject.settings.scope))?;
    subject.send(&route.request().bearing(&known)).await.expect("2xx while the issuer is away", success)
}

async fn hammer(subject: &Subject) -> Finding {
    let issuer = of(subject)?;
    let route = closed_route(subject)?;
    subject.send(&route.request()).await.expect("2xx for a valid token", success)?;
    let (before, began) = (issuer.fetches(), Instant::now());
    let (mut under_way, mut let_in) = (JoinSet::new(), 0);
    let own = signed(Key::new())?;
    for number in 0..MADE_UP {
        let draft = draft(subject)?.header("kid", json!(format!("made-up-{number}")));
        let request = route.request().bearing(&signed(own.sign(&draft))?);
        let main = subject.main().clone();
        under_way.spawn(async move { exchange(&main, &request, PATIENCE).await });
        while under_way.len() >= AT_ONCE {
            let_in += usize::from(is_let_in(under_way.join_next().await));
        }
    }
    while let Some(ended) = under_way.join_next().await {
        let_in += usize::from(is_let_in(Some(ended)));
    }
    let (fetches, seconds) = (issuer.fetches() - before, began.elapsed().as_secs_f64());
    let evidence = Evidence::new(
        format!("{MADE_UP} tokens with made-up keys, {AT_ONCE} at a time"),
        "none is let in; the keys are asked for once a second at most",
        format!("{let_in} let in; asked for {fetches} times in {seconds:.1} s"),
    );
    evidence.judge(if let_in > 0 {
        Err("a token that nobody has signed was let in".to_owned())
    } else if fetches as f64 > seconds.ceil() + 1.0 {
        Err("whoever sends tokens can have the issuer asked as often as they like".to_owned())
    } else {
        Ok(())
    })
}

fn is_let_in(ended: Option<Result<super::subject::Exchange, tokio::task::JoinError>>) -> bool {
    matches!(ended, Some(Ok(exchange)) if exchange.came.as_ref().is_ok_and(Answer::is_success))
}

/// Whether each of these tokens is refused as invalid, where a valid one is let in.
async fn refused(subject: &Subject, tokens: Vec<(String, String)>) -> Finding {
    let route = closed_route(subject)?;
    let mut evidence = accepted(subject).await.map_err(|miss| match miss {
        Miss::Failed { evidence, why } => Miss::Failed {
            evidence,
            why: format!("a valid token is refused too, so nothing is known: {why}"),
        },
        other => other,
    })?;
    for (what, token) in tokens {
        let request = route.request().bearing(&token);
        let exchange = subject.send(&request).await;
        let sent = format!("{what} | {}", exchange.sent);
        let expected = "401 with error=\"invalid_token\"";
        let judged = match &exchange.came {
            Ok(answer) => invalid_token(answer),
            Err(trouble) => Err(trouble.to_string()),
        };
        evidence = Evidence::new(sent, expected, exchange.shown()).judge(judged)?;
    }
    Ok(evidence)
}

async fn refused_drafts(subject: &Subject, drafts: Vec<(String, Draft)>) -> Finding {
    let key = signed(of(subject)?.key())?;
    let mut tokens = Vec::with_capacity(drafts.len());
    for (what, draft) in drafts {
        tokens.push((what, signed(key.sign(&draft))?));
    }
    refused(subject, tokens).await
}

fn without(mut draft: Draft, claim: &str) -> Draft {
    if let Some(claims) = draft.claims.as_object_mut() {
        claims.remove(claim);
    }
    draft
}

fn draft(subject: &Subject) -> Result<Draft, Miss> {
    signed(of(subject)?.draft(&subject.settings.scope))
}

fn of(subject: &Subject) -> Result<&Issuer, Miss> {
    subject.issuer.as_ref().ok_or_else(|| skipped("needs --issuer"))
}

fn closed_route(subject: &Subject) -> Result<&Route, Miss> {
    subject.settings.closed_route.as_ref().ok_or_else(|| skipped("needs --closed-route"))
}

/// What the suite itself could not make leaves nothing to be said.
fn signed<T>(made: Result<T, String>) -> Result<T, Miss> {
    made.map_err(skipped)
}

fn success(answer: &Answer) -> Result<(), String> {
    if answer.is_success() { Ok(()) } else { Err(format!("status is {}", answer.status)) }
}

fn invalid_token(answer: &Answer) -> Result<(), String> {
    let challenge = challenged(answer, 401)?;
    match parameter(&challenge, "error").as_deref() {
        Some("invalid_token") => Ok(()),
        Some(other) => Err(format!("it has error=\"{other}\"")),
        None => Err("error=\"invalid_token\" is missing".to_owned()),
    }
}

/// The challenge of an answer with this status.
fn challenged(answer: &Answer, status: u16) -> Result<String, String> {
    if answer.status != status {
        return Err(format!("status is {}", answer.status));
    }
    let challenge = answer.field(CHALLENGE).ok_or("www-authenticate is missing")?;
    let is_bearer = challenge.split([' ', ',']).any(|word| word.eq_ignore_ascii_case("bearer"));
    if is_bearer { Ok(challenge) } else { Err("www-authenticate has no `Bearer`".to_owned()) }
}

/// A parameter of a challenge (RFC 9110 section 11.2), quoted or not.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let mut rest = challenge;
    while !rest.is_empty() {
        // The scheme stands before the first name, and a comma before the others.
        let (before, after) = rest.split_once('=')?;
        let own = before.rsplit([' ', ',', '\t']).find(|word| !word.is_empty()).unwrap_or_default();
        let after = after.trim_start();
        let (value, following) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find([',', ' ']).unwrap_or(after.len())),
        };
        if own.eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = following;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::parameter;

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        let challenge =
            r#"Bearer realm="a, error=no", error_description="the error=x", error="invalid_token", scope=a"#;
        assert_eq!(parameter(challenge, "error_description").as_deref(), Some("the error=x"));
        assert_eq!(parameter(challenge, "scope").as_deref(), Some("a"));
        assert_eq!(parameter(r#"Bearer error="invalid_token""#, "error").as_deref(), Some("invalid_token"));
        assert_eq!(parameter(r#"Bearer error_uri="x""#, "error"), None);
        assert_eq!(parameter("Bearer", "error"), None);
    }
}
