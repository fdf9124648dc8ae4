//! What a client may ask for: scopes, and whom a token is for.

use std::collections::BTreeSet;

use crate::issuer::{config::is_name, form::Form, refused::Refused};

const MOST_SCOPES: usize = 100;
const MOST_AUDIENCES: usize = 10;

/// Scopes of OpenID Connect Core section 5.4 and 11: of logins.
pub(in crate::issuer) fn is_about_people(scope: &str) -> bool {
    matches!(scope, "openid" | "profile" | "email" | "offline_access")
}

/// Those that `form` asks for, each of which it `may`; without any, the default, of which the answer then tells
/// (RFC 6749 section 3.3).
pub(in crate::issuer) fn scopes<'a, D: Iterator<Item = &'a String>>(
    form: &Form,
    may: impl Fn(&str) -> bool,
    default: impl FnOnce() -> D,
) -> Result<Vec<String>, Refused> {
    let Some(asked) = form.one("scope")? else { return Ok(default().cloned().collect()) };
    let words: BTreeSet<_> = asked.split(' ').collect();
    if words.len() > MOST_SCOPES || !words.iter().all(|word| is_name(word) && may(word)) {
        return Err(Refused::scope());
    }
    Ok(words.into_iter().map(ToOwned::to_owned).collect())
}

/// Those that `form` asks for, as `resource` (RFC 8707) or `audience` (RFC 8693 section 2.1), each one of `allowed`; without any,
/// the first of them.
pub(in crate::issuer) fn audiences(form: &Form, allowed: &[String]) -> Result<Vec<String>, Refused> {
    let mut asked: Vec<&str> = form.all("resource").chain(form.all("audience")).collect();
    asked.sort_unstable();
    asked.dedup();
    if asked.is_empty() {
        return Ok(allowed.first().cloned().into_iter().collect());
    }
    let is_allowed = |one: &&str| allowed.iter().any(|allowed| allowed == one);
    if asked.len() > MOST_AUDIENCES || !asked.iter().all(is_allowed) {
        return Err(Refused::target());
    }
    Ok(asked.into_iter().map(ToOwned::to_owned).collect())
}
