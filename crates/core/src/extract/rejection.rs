//! What axum's extractors answer, read back into an [`Error`] that names the field.
//!
//! axum 0.8 tells it in a sentence; the sentences are those of `axum::extract::rejection`, and the tests beside this
//! module hold real rejections against this table, so that a new wording is noticed.

use http::StatusCode;

use crate::error::{Error, Kind, Violation};

/// How the sentence goes on after its beginning.
#[derive(Clone, Copy)]
enum Rest {
    /// `{path of the field}: {what is wrong}`.
    Field,
    /// About a parameter of the path.
    Parameter,
    /// Said to the caller as it stands.
    Detail(&'static str),
    /// A mistake in the program: for the log only.
    Fault,
}

const TABLE: &[(u16, &str, Kind, Rest)] = {
    use Kind::{
        ContentTooLarge, Internal, InvalidArgument, MethodNotAllowed, Unprocessable, UnsupportedMediaType,
    };
    const UPGRADE: &str = "expected the headers of a WebSocket handshake (RFC 6455 section 4.1)";
    &[
        (422, "Failed to deserialize the JSON body into the target type: ", Unprocessable, Rest::Field),
        (400, "Failed to parse the request body as JSON: ", InvalidArgument, Rest::Field),
        (
            415,
            "Expected request with `Content-Type: application/json`",
            UnsupportedMediaType,
            Rest::Detail("expected content type application/json"),
        ),
        (
            415,
            "Form requests must have `Content-Type: application/x-www-form-urlencoded`",
            UnsupportedMediaType,
            Rest::Detail("expected content type application/x-www-form-urlencoded"),
        ),
        (422, "Failed to deserialize form body: ", Unprocessable, Rest::Field),
        (400, "Failed to deserialize form: ", InvalidArgument, Rest::Field),
        (400, "Failed to deserialize query string: ", InvalidArgument, Rest::Field),
        (400, "Invalid URL: ", InvalidArgument, Rest::Parameter),
        (
            413,
            "Failed to buffer the request body: ",
            ContentTooLarge,
            Rest::Detail("the request body is larger than the limit"),
        ),
        (
            400,
            "Failed to buffer the request body: ",
            InvalidArgument,
            Rest::Detail("the request body did not arrive whole"),
        ),
        (
            400,
            "Request body didn't contain valid UTF-8",
            InvalidArgument,
            Rest::Detail("expected a body in UTF-8"),
        ),
        (405, "Request method must be `", MethodNotAllowed, Rest::Detail(UPGRADE)),
        (400, "Connection header did not include 'upgrade'", InvalidArgument, Rest::Detail(UPGRADE)),
        (400, "`Upgrade` header did not include 'websocket'", InvalidArgument, Rest::Detail(UPGRADE)),
        (
            400,
            "`:protocol` pseudo-header did not include 'websocket'",
            InvalidArgument,
            Rest::Detail(UPGRADE),
        ),
        (400, "`Sec-WebSocket-Version` header did not include '13'", InvalidArgument, Rest::Detail(UPGRADE)),
        (400, "`Sec-WebSocket-Key` header missing", InvalidArgument, Rest::Detail(UPGRADE)),
        (500, "Missing request extension: ", Internal, Rest::Fault),
        (500, "No paths parameters found for matched route", Internal, Rest::Fault),
        (500, "No matched path found", Internal, Rest::Fault),
        (500, "The matched route is not nested", Internal, Rest::Fault),
        (500, "Wrong number of path arguments for `Path`", Internal, Rest::Fault),
        (500, "Unsupported type `", Internal, Rest::Fault),
    ]
};

/// The error that axum's sentence `text` is about; `None` if it is not one of axum's.
pub(crate) fn of_axum(status: StatusCode, text: &str) -> Option<Error> {
    let of_status = TABLE.iter().filter(|(code, ..)| *code == status.as_u16());
    let (rest, kind, form) = of_status
        .filter_map(|(_, start, kind, form)| text.strip_prefix(start).map(|rest| (rest, *kind, *form)))
        .next()?;
    let error = Error::new(kind);
    Some(match form {
        Rest::Field => match field(rest) {
            Some(violation) => error.with_violation(violation),
            None => error.with_detail(rest.to_owned()),
        },
        Rest::Parameter => match parameter(rest) {
            Some(violation) => error.with_violation(violation),
            None => error.with_detail(rest.to_owned()),
        },
        Rest::Detail(detail) => error.with_detail(detail),
        Rest::Fault => error.with_source(text.to_owned()),
    })
}

/// `items[2].quantity: invalid type: …`: the path as `serde_path_to_error` writes it, then serde's message.
fn field(text: &str) -> Option<Violation> {
    // serde's own messages have spaces before their first colon, paths have none.
    let (path, message) = match text.split_once(": ") {
        Some((path, message)) if !path.is_empty() && !path.contains(char::is_whitespace) => (path, message),
        _ => ("", text),
    };
    // A missing field is found missing in the struct around it; its name is in the message.
    if let Some((name, _)) = message.strip_prefix("missing field `").and_then(|rest| rest.split_once('`')) {
        let name = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        return Some(Violation::new(name, "missing"));
    }
    (!path.is_empty()).then(|| Violation::new(path, message))
}

/// The messages of `axum::extract::path::ErrorKind`.
fn parameter(text: &str) -> Option<Violation> {
    if let Some(name) = text.strip_prefix("Invalid UTF-8 in `").and_then(|rest| rest.strip_suffix('`')) {
        return Some(Violation::new(name, "expected UTF-8"));
    }
    let expected = |rest: &str| {
        let (_, expected) = rest.rsplit_once("` to a `")?;
        Some(format!("expected {}", expected.strip_suffix('`')?))
    };
    if let Some(rest) = text.strip_prefix("Cannot parse value at index ") {
        let (index, rest) = rest.split_once(" with value `")?;
        return Some(Violation::new(format!("[{index}]"), expected(rest)?));
    }
    let rest = text.strip_prefix("Cannot parse `")?;
    match rest.split_once("` with value `") {
        Some((name, rest)) => {
            let detail = expected(rest).or_else(|| Some(rest.split_once("`: ")?.1.to_owned()))?;
            Some(Violation::new(name, detail))
        }
        // The only parameter of the path, which has no name here.
        None => Some(Violation::new("path", expected(rest)?)),
    }
}
