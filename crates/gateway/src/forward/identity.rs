//! Fields by which somebody in front could have told who the caller is.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

/// Names of fields, and what they begin with.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Sorted.
    whole: Vec<Box<str>>,
    /// Sorted, none the beginning of another: what a name begins with is the greatest that is not greater than the name.
    beginnings: Vec<Box<str>>,
}

impl Names {
    /// Of names, some with `*` at their end; else the one that is none.
    pub(crate) fn new(names: &[String]) -> Result<Self, &String> {
        let mut of = Self::default();
        for written in names {
            let name = written.strip_suffix('*').unwrap_or(written);
            let parsed = HeaderName::try_from(name).map_err(|_| written)?;
            let list = if name.len() < written.len() { &mut of.beginnings } else { &mut of.whole };
            list.push(normal(parsed.as_str()).into());
        }
        of.whole.sort_unstable();
        of.beginnings.sort_unstable();
        // What begins with another one comes right behind it.
        of.beginnings.dedup_by(|later, kept| later.starts_with(&**kept));
        Ok(of)
    }

    /// Whether `name` is one of them.
    pub(crate) fn has(&self, name: &HeaderName) -> bool {
        let name = &*normal(name.as_str());
        let after = self.beginnings.partition_point(|beginning| **beginning <= *name);
        let begins = after.checked_sub(1).and_then(|index| self.beginnings.get(index));
        begins.is_some_and(|beginning| name.starts_with(&**beginning))
            || self.whole.binary_search_by(|whole| (**whole).cmp(name)).is_ok()
    }

    /// Takes them off.
    pub(crate) fn remove(&self, headers: &mut HeaderMap) {
        // Nobody who is honest sends one: nothing is allocated for others.
        let found: Vec<HeaderName> = headers.keys().filter(|name| self.has(name)).cloned().collect();
        for name in found {
            headers.remove(name);
        }
    }
}

/// As servers behind see it: for CGI, WSGI and what came from them `_` and `-` are the same.
pub(super) fn normal(name: &str) -> Cow<'_, str> {
    if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IDENTITY_FIELDS;

    fn names(names: &[&str]) -> Names {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Names::new(&names).unwrap()
    }

    fn has(names: &Names, name: &str) -> bool {
        names.has(&HeaderName::try_from(name).unwrap())
    }

    #[test]
    fn names_are_whole_or_begin_so_in_every_spelling() {
        let names = names(&["X-User*", "x-user-*", "remote-user", "x-a-*", "x-a", "x-b*"]);
        for name in
            ["x-user", "X-User-Id", "x_user", "x-username", "Remote_User", "x-a", "x-a-b", "x-b", "x-bc"]
        {
            assert!(has(&names, name), "{name}");
        }
        for name in ["x-use", "remote-users", "x-ab", "x", "user", "zz", "x-forwarded-user", "a"] {
            assert!(!has(&names, name), "{name}");
        }
        assert!(!has(&Names::default(), "x-user"));
        assert_eq!(Names::new(&["a b".to_owned()]).unwrap_err(), "a b");
        assert!(Names::new(&["*".to_owned()]).is_err());
    }

    #[test]
    fn by_default_no_field_that_claims_an_identity_comes_through_and_others_do() {
        let names = names(IDENTITY_FIELDS);
        for name in [
            "x-forwarded-user",
            "x-forwarded-email",
            "x-auth-request-email",
            "x-user",
            "x-user-id",
            "x-userinfo",
            "remote-user",
            "remote-groups",
            "x-remote-user",
            "x-webauth-user",
            "x-consumer-username",
            "x-amzn-oidc-identity",
            "x-goog-authenticated-user-email",
            "x-ms-client-principal-id",
            "cf-access-authenticated-user-email",
            "client-cert",
            "client-cert-chain",
            "x-client-cert",
            "x-forwarded-client-cert",
            "x-ssl-client-verify",
            "ssl-client-cert",
        ] {
            assert!(has(&names, name) && has(&names, &name.replace('-', "_")), "{name}");
        }
        for name in [
            "authorization",
            "accept",
            "cookie",
            "content-type",
            "traceparent",
            "x-request-id",
            "x-request-timeout",
            "x-forwarded-for",
            "x-api-key",
            "x-grpc-web",
            "referer",
            "idempotency-key",
        ] {
            assert!(!has(&names, name), "{name}");
        }
    }
}
