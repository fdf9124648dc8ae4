//! What clients and browsers send: bounded, and each parameter once (RFC 6749 section 3.1).

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Request, header};

use super::refused::Refused;

/// A body with tokens in it is shorter by far.
const MOST_BYTES: usize = 64 << 10;
const MOST_FIELDS: usize = 64;
/// For all of a body.
const PATIENCE: Duration = Duration::from_secs(10);

/// Parameters as they came.
#[derive(Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Of a body.
    pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Self, Refused> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(Refused::request("the body has to be application/x-www-form-urlencoded"));
        }
        let body = tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, MOST_BYTES)).await;
        let Ok(Ok(body)) = body else {
            return Err(Refused::request("the body is too long, too slow or cut short"));
        };
        Self::parse(&body)
    }

    /// Of the query of a URL.
    pub(super) fn of_query<B>(request: &Request<B>) -> Result<Self, Refused> {
        Self::parse(request.uri().query().unwrap_or_default().as_bytes())
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let mut fields = form_urlencoded::parse(bytes);
        let read: Vec<_> = fields
            .by_ref()
            .take(MOST_FIELDS)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        if fields.next().is_some() || bytes.len() > MOST_BYTES {
            return Err(Refused::request("there are too many parameters"));
        }
        Ok(Self(read))
    }

    /// The parameter, if it is there and not empty.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Refused> {
        let mut found = self.all(name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Refused::request("a parameter stands twice")),
            (found, None) => Ok(found),
        }
    }

    pub(super) fn required(&self, name: &str, missing: &'static str) -> Result<&str, Refused> {
        self.one(name)?.ok_or(Refused::request(missing))
    }

    /// Those that may stand several times, such as `resource` (RFC 8707 section 2).
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(has, value)| has == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// As a query.
    pub(super) fn to_query(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }
}

/// Parameters may be secrets.
impl std::fmt::Debug for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_stands_once_and_an_empty_one_is_none() {
        let form = Form::parse(b"a=1&b=&c=x%20y&c=z&%61a=+").unwrap();
        assert_eq!(form.one("a"), Ok(Some("1")));
        assert_eq!(form.one("b"), Ok(None));
        assert_eq!(form.one("c").unwrap_err().error, "invalid_request");
        assert_eq!(form.all("c").collect::<Vec<_>>(), ["x y", "z"]);
        assert_eq!(form.one("aa"), Ok(Some(" ")));
    }

    #[test]
    fn there_is_a_bound_on_parameters() {
        assert!(Form::parse("a=1&".repeat(MOST_FIELDS).as_bytes()).is_ok());
        assert!(Form::parse("a=1&".repeat(MOST_FIELDS + 1).as_bytes()).is_err());
        assert!(Form::parse(&vec![b'a'; MOST_BYTES + 1]).is_err());
    }
}
