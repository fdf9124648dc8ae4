//! The crate `openidconnect`, whose HTTP client is a few lines here: it wants one that follows no redirections.

use std::{collections::BTreeMap, io, sync::Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use mainstay_core::task::Tasks;
use openidconnect::{
    AccessTokenHash, AuthenticationFlow, AuthorizationCode, ClientId, ClientSecret, CsrfToken,
    EndpointMaybeSet, EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, RedirectUrl, Scope, TokenResponse as _,
    core::{CoreClient, CoreProviderMetadata, CoreResponseType, CoreUserInfoClaims},
};
use tokio::net::TcpStream;

/// Sends one request on a connection of its own.
async fn send(tasks: &Tasks, request: HttpRequest) -> io::Result<HttpResponse> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().ok_or(io::ErrorKind::InvalidInput)?.to_string();
    head.headers.insert(http::header::HOST, authority.parse().map_err(io::Error::other)?);
    head.uri = head.uri.path_and_query().ok_or(io::ErrorKind::InvalidInput)?.clone().into();
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tasks.spawn_detached(connection);
    let answer = sender.send_request(http::Request::from_parts(head, Full::new(Bytes::from(body)))).await;
    let (head, body) = answer.map_err(io::Error::other)?.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(http::Response::from_parts(head, body.to_vec()))
}

/// What somebody does who is sent to `url`: gives a password, allows. Where they are sent back.
async fn log_in(tasks: &Tasks, url: &str) -> String {
    let cookies = Mutex::new(BTreeMap::new());
    let visit = async |form: Option<String>| {
        let cookie: Vec<_> =
            cookies.lock().expect("no panic").iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = http::Request::builder().uri(url).header("cookie", cookie.join("; "));
        let request = match form {
            None => request.body(Vec::new()),
            Some(form) => {
                let request =
                    request.method("POST").header("content-type", "application/x-www-form-urlencoded");
                request.body(form.into_bytes())
            }
        };
        let answer = send(tasks, request.expect("it is a request")).await.expect("it answers");
        for set in answer.headers().get_all("set-cookie") {
            let pair = set.to_str().expect("it is text").split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("it is a cookie");
            cookies.lock().expect("no panic").insert(name.to_owned(), value.to_owned());
        }
        answer
    };
    let token = |page: &HttpResponse| {
        let page = String::from_utf8_lossy(page.body()).into_owned();
        let (_, rest) =
            page.split_once("name=\"form_token\" value=\"").unwrap_or_else(|| panic!("no form: {page}"));
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    let page = visit(None).await;
    let form = format!("form_token={}&login=ada&password=correct+horse&action=login", token(&page));
    let page = visit(Some(form)).await;
    let back = visit(Some(format!("form_token={}&action=allow", token(&page)))).await;
    back.headers().get("location").expect("it leads back").to_str().expect("it is text").to_owned()
}

#[tokio::test]
async fn openidconnect_of_rust_logs_somebody_in() {
    // EdDSA of ID tokens it does not know by name.
    for algorithm in [super::Algorithm::ES256, super::Algorithm::RS256] {
        let tasks = Tasks::new();
        let issuer = super::serve(algorithm, &tasks).await;
        tokio::time::timeout(super::PATIENCE, whole_login(&tasks, &issuer)).await.expect("it ends");
    }
}

async fn whole_login(tasks: &Tasks, issuer: &str) {
    let http = |request: HttpRequest| {
        let tasks = tasks.clone();
        async move { send(&tasks, request).await }
    };
    let issuer = IssuerUrl::new(issuer.to_owned()).expect("it is a URL");
    let metadata = CoreProviderMetadata::discover_async(issuer, &http).await.expect("it is discovered");
    let client: CoreClient<EndpointSet, _, _, _, EndpointMaybeSet, EndpointMaybeSet> =
        CoreClient::from_provider_metadata(
            metadata,
            ClientId::new("web".to_owned()),
            Some(ClientSecret::new("the secret of web: 100%".to_owned())),
        )
        .set_redirect_uri(RedirectUrl::new("https://app.example/back".to_owned()).expect("it is a URL"));
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
    let request = client.authorize_url(flow, CsrfToken::new_random, Nonce::new_random);
    let scopes =
        ["profile", "email", "offline_access", "orders:read"].map(|scope| Scope::new(scope.to_owned()));
    let (url, state, nonce) = request.add_scopes(scopes).set_pkce_challenge(challenge).url();
    let back: http::Uri = log_in(tasks, url.as_str()).await.parse().expect("it is a URL");
    let fields: BTreeMap<_, _> =
        form_urlencoded::parse(back.query().unwrap_or_default().as_bytes()).into_owned().collect();
    assert_eq!(fields.get("state"), Some(state.secret()));

    let code = AuthorizationCode::new(fields.get("code").expect("there is a code").clone());
    let exchange = client.exchange_code(code).expect("there is an endpoint").set_pkce_verifier(verifier);
    let tokens = exchange.request_async(&http).await.expect("there are tokens");
    let id = tokens.id_token().expect("there is an ID token");
    let keys = client.id_token_verifier();
    let claims = id.claims(&keys, &nonce).expect("it is good");
    assert_eq!(claims.subject().as_str(), "ada");
    assert!(id.claims(&keys, &Nonce::new_random()).is_err());
    // Optional in this flow (OpenID Connect Core section 3.1.3.6), and not there.
    assert!(claims.access_token_hash().map(|hash: &AccessTokenHash| hash.as_str()).is_none());

    let asked = client.user_info(tokens.access_token().clone(), Some(claims.subject().clone()));
    let info: CoreUserInfoClaims =
        asked.expect("there is an endpoint").request_async(&http).await.expect("it answers");
    assert_eq!(info.email().map(|email| email.as_str()), Some("ada@example.org"));

    let refresh = tokens.refresh_token().expect("there is a refresh token");
    let exchange = client.exchange_refresh_token(refresh).expect("there is an endpoint");
    let next = exchange.request_async(&http).await.expect("there are new tokens");
    assert_ne!(next.refresh_token().map(|token| token.secret()), Some(refresh.secret()));

    let own = client.exchange_client_credentials().expect("there is an endpoint");
    let own = own
        .add_scope(Scope::new("orders:read".to_owned()))
        .request_async(&http)
        .await
        .expect("there is a token");
    assert_eq!(own.scopes().map(|scopes| scopes.len()), Some(1));
}
