//! The path that goes upstream.

use crate::pattern::{InvalidPattern, Pattern, Segment};

/// How the path of a request is replaced. The query stays as it is.
#[derive(Debug, Clone)]
pub(crate) struct Rewrite {
    pieces: Vec<Piece>,
    /// How many segments of the path are replaced; what follows them is kept, for open patterns.
    replaced: Option<usize>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(Box<str>),
    /// The segment of the request's path at this position, encoded as it came.
    Segment(usize),
}

/// Why a rewrite can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRewrite {
    #[error("{0}")]
    Pattern(InvalidPattern),
    #[error("only parameters of the route's own path, and {{{0}}} is not one")]
    Parameter(Box<str>),
}

impl Rewrite {
    /// Takes the matched prefix away.
    pub(crate) fn strip(pattern: &Pattern) -> Self {
        Self { pieces: Vec::new(), replaced: Some(pattern.segments.len()) }
    }

    /// Puts `template` in place of what `pattern` matched; its parameters are those of `pattern`.
    pub(crate) fn parse(template: &str, pattern: &Pattern) -> Result<Self, InvalidRewrite> {
        let parse = if pattern.open { Pattern::open } else { Pattern::closed };
        // Only to check it: the text is kept as it was written.
        let parsed = parse(template).map_err(InvalidRewrite::Pattern)?;
        let text = if pattern.open { template.strip_suffix('/').unwrap_or(template) } else { template };
        let mut pieces = Vec::new();
        for (text, segment) in text.split('/').skip(1).zip(&parsed.segments) {
            match segment {
                Segment::Literal(_) => pieces.push(Piece::Text(text.into())),
                Segment::Parameter(name) => {
                    let position = pattern.position(name);
                    let position = position.ok_or_else(|| InvalidRewrite::Parameter(name.clone()))?;
                    pieces.push(Piece::Segment(position));
                }
            }
        }
        Ok(Self { pieces, replaced: pattern.open.then_some(pattern.segments.len()) })
    }

    /// The new path and query.
    pub(crate) fn apply(&self, path: &str, query: Option<&str>) -> String {
        let mut new = String::with_capacity(path.len() + query.map_or(0, |query| query.len() + 1) + 16);
        for piece in &self.pieces {
            new.push('/');
            new.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Segment(position) => path.split('/').nth(position + 1).unwrap_or(""),
            });
        }
        if let Some(replaced) = self.replaced {
            for segment in path.split('/').skip(replaced + 1) {
                new.push('/');
                new.push_str(segment);
            }
        }
        if new.is_empty() {
            new.push('/');
        }
        if let Some(query) = query {
            new.push('?');
            new.push_str(query);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(pattern: &Pattern, template: Option<&str>, path: &str) -> String {
        let rewrite = match template {
            Some(template) => Rewrite::parse(template, pattern).unwrap(),
            None => Rewrite::strip(pattern),
        };
        rewrite.apply(path, Some("q=1"))
    }

    #[test]
    fn a_prefix_is_stripped_or_replaced_and_the_rest_is_kept() {
        let prefix = Pattern::open("/api/orders").unwrap();
        for (template, path, expected) in [
            (None, "/api/orders", "/?q=1"),
            (None, "/api/orders/", "/?q=1"),
            (None, "/api/orders/7", "/7?q=1"),
            (None, "/api/orders//7/", "//7/?q=1"),
            (Some("/v2"), "/api/orders", "/v2?q=1"),
            (Some("/v2"), "/api/orders/7", "/v2/7?q=1"),
            (Some("/v2/"), "/api/orders/7", "/v2/7?q=1"),
            (Some("/"), "/api/orders/7", "/7?q=1"),
        ] {
            assert_eq!(rewritten(&prefix, template, path), expected, "{template:?} {path}");
        }
    }

    #[test]
    fn parameters_are_copied_as_they_came() {
        let path = Pattern::closed("/tenants/{tenant}/orders/{id}").unwrap();
        let new = rewritten(&path, Some("/orders/{id}/of/{tenant}"), "/tenants/a%2Fb/orders/7");
        assert_eq!(new, "/orders/7/of/a%2Fb?q=1");
        let prefix = Pattern::open("/{tenant}").unwrap();
        assert_eq!(rewritten(&prefix, Some("/of/{tenant}"), "/a/b/c"), "/of/a/b/c?q=1");
    }

    #[test]
    fn an_unknown_parameter_is_refused_by_name() {
        let error = Rewrite::parse("/{b}", &Pattern::closed("/{a}").unwrap()).unwrap_err();
        assert!(error.to_string().contains("{b}"), "{error}");
    }
}
