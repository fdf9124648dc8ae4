//! Where a request has its token (RFC 6750 section 2.1), and where it must not have it.

use http::{Request, header};

use crate::{Refusal, Verifier};

/// What a request shows for itself.
pub(super) enum Shown<'a> {
    /// A bearer token.
    Token(&'a str),
    /// An API key.
    ApiKey(&'a [u8]),
}

/// What `request` shows, of what `verifier` takes: one of it.
pub(super) fn shown<'a, B>(request: &'a Request<B>, verifier: &Verifier) -> Result<Shown<'a>, Refusal> {
    let token = token(request, verifier.takes_query_token());
    let Some(keys) = verifier.api_keys() else { return token.map(Shown::Token) };
    match (keys.shown(request.headers())?, token) {
        (None, token) => token.map(Shown::Token),
        // What else `Authorization` has is no credential that is taken here.
        (Some(key), Err(Refusal::NoCredentials)) => Ok(Shown::ApiKey(key)),
        (Some(_), Ok(_)) => Err(Refusal::SeveralCredentials),
        (Some(_), Err(refusal)) => Err(refusal),
    }
}

/// The bearer token of `request`; one in its query string is refused unless `in_query`.
pub(super) fn token<B>(request: &Request<B>, in_query: bool) -> Result<&str, Refusal> {
    let mut in_query_string = request.uri().query().into_iter().flat_map(tokens);
    let mut fields = request.headers().get_all(header::AUTHORIZATION).iter();
    if let Some(token) = in_query_string.next() {
        // RFC 9700 section 4.3.2: it would be in logs and histories. Refused whatever else the request has.
        if !in_query {
            return Err(Refusal::TokenInQuery);
        }
        // RFC 6750 section 2: one method, once.
        let is_alone = fields.next().is_none() && in_query_string.next().is_none();
        return if is_alone { Ok(token) } else { Err(Refusal::SeveralCredentials) };
    }
    let Some(field) = fields.next() else { return Err(Refusal::NoCredentials) };
    if fields.next().is_some() {
        return Err(Refusal::SeveralCredentials);
    }
    let bytes = field.as_bytes();
    let end = bytes.iter().position(|byte| *byte == b' ').unwrap_or(bytes.len());
    // RFC 9110 section 11.1: the name of a scheme has no case.
    let (scheme, rest) = bytes.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Refusal::NoCredentials);
    }
    std::str::from_utf8(rest.trim_ascii()).map_err(|_| Refusal::NotAToken)
}

/// RFC 6750 section 2.3, as they are written: nothing of a token has to be encoded (section 2.1).
fn tokens(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter_map(|pair| match pair.split_once('=') {
        Some(("access_token", token)) => Some(token),
        None if pair == "access_token" => Some(""),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(uri: &str, fields: &[&[u8]]) -> Result<String, Refusal> {
        let mut request = Request::get(uri).body(()).unwrap();
        for field in fields {
            request.headers_mut().append("authorization", HeaderValue::from_bytes(field).unwrap());
        }
        token(&request, false).map(ToOwned::to_owned)
    }

    #[test]
    fn where_that_is_declared_one_token_in_the_query_string_is_taken_and_no_other_beside_it() {
        let read = |uri: &str, field: Option<&str>| {
            let mut request = Request::get(uri);
            if let Some(field) = field {
                request = request.header("authorization", field);
            }
            token(&request.body(()).unwrap(), true).map(ToOwned::to_owned)
        };
        assert_eq!(read("/x?a=b&access_token=a.b.c&c", None).unwrap(), "a.b.c");
        assert_eq!(read("/x?access_token", None).unwrap(), "");
        assert_eq!(read("/x?a=b", Some("Bearer a.b.c")).unwrap(), "a.b.c");
        assert_eq!(read("/x?a=b", None), Err(Refusal::NoCredentials));
        for (uri, field) in [
            ("/x?access_token=a.b.c", Some("Bearer a.b.c")),
            ("/x?access_token=a.b.c", Some("Basic YTpi")),
            ("/x?access_token=a.b.c&access_token=a.b.c", None),
        ] {
            assert_eq!(read(uri, field), Err(Refusal::SeveralCredentials), "{uri}");
        }
    }

    #[test]
    fn the_token_is_behind_the_scheme_whatever_its_case() {
        for field in [&b"Bearer a.b.c"[..], b"bearer a.b.c", b"BEARER   a.b.c"] {
            assert_eq!(read("/", &[field]).unwrap(), "a.b.c");
        }
    }

    #[test]
    fn other_schemes_are_no_token() {
        assert_eq!(read("/", &[]), Err(Refusal::NoCredentials));
        for field in ["Basic YTpi", "", "a.b.c", "Bearera.b.c", "DPoP a.b.c"] {
            assert_eq!(read("/", &[field.as_bytes()]), Err(Refusal::NoCredentials));
        }
    }

    #[test]
    fn several_authorization_fields_are_refused() {
        for second in [&b"Bearer a.b.c"[..], b"Bearer d.e.f", b"Basic YTpi", b""] {
            assert_eq!(read("/", &[b"Bearer a.b.c", second]), Err(Refusal::SeveralCredentials));
            assert_eq!(read("/", &[second, b"Bearer a.b.c"]), Err(Refusal::SeveralCredentials));
        }
    }

    #[test]
    fn tokens_in_query_strings_are_refused() {
        for query in
            ["access_token=a.b.c", "a=b&access_token=", "access_token", "access_token=a&access_token=b"]
        {
            assert_eq!(read(&format!("/x?{query}"), &[]), Err(Refusal::TokenInQuery));
            assert_eq!(read(&format!("/x?{query}"), &[b"Bearer a.b.c"]), Err(Refusal::TokenInQuery));
        }
        assert_eq!(read("/x?my_access_token=a&b=access_token", &[b"Bearer a.b.c"]).unwrap(), "a.b.c");
    }

    #[test]
    fn an_empty_token_and_one_that_is_no_text_are_tokens_that_are_none() {
        assert_eq!(read("/", &[b"Bearer"]).unwrap(), "");
        assert_eq!(read("/", &[b"Bearer "]).unwrap(), "");
        assert_eq!(read("/", &[b"Bearer \xff"]), Err(Refusal::NotAToken));
        assert_eq!(read("/", &[b"Bearer a.b.c, Bearer d.e.f"]).unwrap(), "a.b.c, Bearer d.e.f");
    }
}
