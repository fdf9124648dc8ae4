//! `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`.

use mainstay_core::config::{Key, Translated, Variables};

use super::SERVICE_NAME;

const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SERVICE: &str = "OTEL_SERVICE_NAME";

/// The keys under `resource` that the standard variables set. For
/// [`Loader::translate`](mainstay_core::config::Loader::translate).
#[must_use]
pub fn variables(variables: &Variables<'_>) -> Vec<Translated> {
    let resource = Key::root().child("resource");
    let mut found = Vec::new();
    let name = variables.get(SERVICE);
    if let Some(value) = variables.get(ATTRIBUTES) {
        match pairs(&value) {
            Some(pairs) => {
                // `OTEL_SERVICE_NAME` goes before it.
                let pairs = pairs.into_iter().filter(|(own, _)| name.is_none() || own != SERVICE_NAME);
                found.extend(
                    pairs.map(|(name, value)| Translated::new(ATTRIBUTES, resource.child(&name), value)),
                );
            }
            None => {
                let expected =
                    "NAME=VALUE, several of them separated by commas; other commas and `=` as %2C and %3D";
                found.push(Translated::wrong(ATTRIBUTES, resource.clone(), expected));
            }
        }
    }
    if let Some(name) = name {
        found.push(Translated::new(SERVICE, resource.child(SERVICE_NAME), name.trim()));
    }
    found
}

/// `name=value` pairs separated by commas, values percent-encoded (the form of W3C Baggage, without properties).
pub(crate) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let (name, value) = (decoded(name.trim())?, decoded(value.trim())?);
            (!name.is_empty()).then_some((name, value))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push((high << 4 | low) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Vec<(String, String)>> {
        pairs(text)
    }

    #[test]
    fn pairs_are_decoded() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(of("a=b, c = d%2C%3d ,,"), Some(vec![pair("a", "b"), pair("c", "d,=")]));
        assert_eq!(of("key=a=b"), Some(vec![pair("key", "a=b")]));
        assert_eq!(of("empty="), Some(vec![pair("empty", "")]));
        for wrong in ["a", "=b", "a=%", "a=%2", "a=%zz", "a=%ff"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
