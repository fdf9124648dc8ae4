use serde_json::{Map, Value};

use crate::{
    Refusal,
    certificate::{self, Thumbprint},
    json::{self, Fault},
};

/// The last second of the year 9999.
const LATEST: f64 = 253_402_300_799.0;

/// The claims, of which the registered ones have the right types.
#[derive(Debug)]
pub(crate) struct Claims {
    pub(crate) issuer: String,
    /// Empty where there is none.
    pub(crate) audience: Vec<String>,
    /// Seconds since 1970.
    pub(crate) expires: Option<f64>,
    pub(crate) not_before: Option<f64>,
    pub(crate) issued_at: Option<f64>,
    pub(crate) subject: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) has_id: bool,
    /// Whether there is a `cnf`, and the certificate that it is, if it is one and nothing else.
    pub(crate) is_bound: bool,
    pub(crate) certificate: Option<Thumbprint>,
    pub(crate) scopes: Vec<String>,
    pub(crate) all: Map<String, Value>,
}

impl Claims {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let all = json::object(bytes).map_err(|fault| match fault {
            Fault::Malformed => Refusal::BadClaims,
            Fault::Duplicate => Refusal::DuplicateClaim,
        })?;
        Self::of(all, None)
    }

    /// Of an object; without `iss` it is `issuer` who says so.
    pub(crate) fn of(all: Map<String, Value>, issuer: Option<&str>) -> Result<Self, Refusal> {
        let issuer = match all.get("iss") {
            None => issuer.ok_or(Refusal::MissingIssuer)?.to_owned(),
            // RFC 7519 section 4.1.1: one StringOrURI.
            Some(issuer) => issuer.as_str().ok_or(Refusal::IssuerType)?.to_owned(),
        };
        let client = match text(&all, "client_id")? {
            Some(client) => Some(client),
            // OpenID Connect Core section 2; what many issuers have in place of it.
            None => text(&all, "azp")?,
        };
        let mut scopes = words(&all, "scope")?;
        // The same under another name (Entra ID, Okta).
        scopes.extend(words(&all, "scp")?);
        if all.get("cnf").is_some_and(|confirmation| !confirmation.is_object()) {
            return Err(Refusal::ClaimType);
        }
        Ok(Self {
            issuer,
            audience: texts(&all, "aud")?,
            expires: date(&all, "exp")?,
            not_before: date(&all, "nbf")?,
            issued_at: date(&all, "iat")?,
            subject: text(&all, "sub")?,
            client,
            has_id: text(&all, "jti")?.is_some(),
            is_bound: all.contains_key("cnf"),
            certificate: all.get("cnf").and_then(certificate::bound_to),
            scopes,
            all,
        })
    }
}

/// The texts at a dotted path, such as `realm_access.roles`: none where it leads to something else.
pub(crate) fn at_path(all: &Map<String, Value>, path: &str) -> Vec<String> {
    match value_at(all, path) {
        Some(Value::String(one)) => one.split_ascii_whitespace().map(ToOwned::to_owned).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(|role| Some(role.as_str()?.to_owned())).collect(),
        _ => Vec::new(),
    }
}

/// What is at a dotted path.
pub(crate) fn value_at<'a>(all: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    // Names may have dots: `https://example.com/roles`.
    all.get(path).or_else(|| {
        let mut steps = path.split('.');
        let first = all.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    })
}

fn text(all: &Map<String, Value>, name: &str) -> Result<Option<String>, Refusal> {
    all.get(name).map(|value| Ok(value.as_str().ok_or(Refusal::ClaimType)?.to_owned())).transpose()
}

/// One text, or a list of texts.
fn texts(all: &Map<String, Value>, name: &str) -> Result<Vec<String>, Refusal> {
    match all.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|value| value.as_str().map(ToOwned::to_owned));
            texts.collect::<Option<_>>().ok_or(Refusal::ClaimType)
        }
        Some(_) => Err(Refusal::ClaimType),
    }
}

/// Words with spaces between (RFC 8693 section 4.2), or a list of words.
fn words(all: &Map<String, Value>, name: &str) -> Result<Vec<String>, Refusal> {
    let mut words = texts(all, name)?;
    if let [one] = words.as_slice() {
        words = one.split(' ').filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect();
    }
    Ok(words)
}

/// A NumericDate (RFC 7519 section 2), which may have a fraction.
fn date(all: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    let Some(value) = all.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(Refusal::ClaimType) };
    // A number that f64 can't hold exactly is out of range by far.
    let seconds = number.as_f64().ok_or(Refusal::DateRange)?;
    if (0.0..=LATEST).contains(&seconds) { Ok(Some(seconds)) } else { Err(Refusal::DateRange) }
}
