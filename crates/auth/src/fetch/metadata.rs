//! What the metadata of an issuer says: OpenID Connect Discovery, else RFC 8414.

use super::{Failure, Fetch, Url};
use crate::json;

const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

/// Where the metadata of `issuer`, which is at `at`, says that `member` is, such as `jwks_uri`.
pub(crate) async fn endpoint(
    fetch: &impl Fetch,
    at: &Url,
    issuer: &str,
    member: &str,
    allow_http: bool,
) -> Result<Url, Failure> {
    let openid = match read(fetch, &at.with_suffix(OPENID), issuer, member, allow_http).await {
        Ok(found) => return Ok(found),
        Err(Failure(openid)) => openid,
    };
    match read(fetch, &at.with_prefix(OAUTH), issuer, member, allow_http).await {
        Ok(found) => Ok(found),
        Err(Failure(oauth)) => Err(Failure::new(format_args!("no metadata: {openid}; {oauth}"))),
    }
}

async fn read(
    fetch: &impl Fetch,
    url: &Url,
    issuer: &str,
    member: &str,
    allow_http: bool,
) -> Result<Url, Failure> {
    let document = fetch.get(url).await?;
    let metadata = json::object(&document.body)
        .map_err(|_| Failure::new(format_args!("{url}: not a JSON object, each name once")))?;
    let text = |name: &str| metadata.get(name).and_then(serde_json::Value::as_str);
    // RFC 8414 section 3.3, OpenID Connect Discovery section 4.3: else somebody else's keys could be taken for its own.
    match text("issuer") {
        Some(named) if named == issuer => {}
        named => {
            let named = named.unwrap_or("no issuer");
            return Err(Failure::new(format_args!("{url}: it is of {named:?}, not of {issuer:?}")));
        }
    }
    match text(member).and_then(Url::parse) {
        Some(found) if found.is_private() || allow_http => Ok(found),
        Some(found) => Err(Failure::new(format_args!("{url}: `{member}` is {found}, which is not https"))),
        None => Err(Failure::new(format_args!("{url}: `{member}` is not a URL"))),
    }
}
