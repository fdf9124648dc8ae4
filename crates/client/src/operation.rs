//! Operations of other services, with the types that go over the wire.

use std::{
    any::{TypeId, type_name},
    fmt::{self, Write as _},
    marker::PhantomData,
    time::Duration,
};

use http::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Client, Response, error::Error};

/// An operation of another service: method, path, and the JSON that is sent and answered. A constant beside the code
/// that calls it, which is both what the call is made of and what the caller relies on.
///
/// ```
/// use mainstay_client::{Client, Operation};
///
/// #[derive(serde::Deserialize)]
/// struct Price {
///     price_cents: u32,
/// }
///
/// const PRICE: Operation<(), Price> = Operation::get("catalog", "/products/{sku}").answers();
///
/// # async fn example(client: Client) -> Result<(), mainstay_client::Error> {
/// let price = PRICE.call(&client).path("sku", "mug").send().await?.read().await?.price_cents;
/// # Ok(()) }
/// ```
///
/// The types: `Q` is sent as JSON, `A` is read from it; `()` is no body.
pub struct Operation<Q = (), A = ()> {
    method: &'static Method,
    service: &'static str,
    path: &'static str,
    queries: &'static [&'static str],
    types: PhantomData<fn(Q) -> A>,
}

impl Operation {
    /// An operation of the service with this logical name; parameters of the path stand in braces.
    #[must_use]
    pub const fn new(method: &'static Method, service: &'static str, path: &'static str) -> Self {
        Self { method, service, path, queries: &[], types: PhantomData }
    }

    /// As [`Operation::new`] with GET.
    #[must_use]
    pub const fn get(service: &'static str, path: &'static str) -> Self {
        Self::new(&Method::GET, service, path)
    }

    /// As [`Operation::new`] with PUT.
    #[must_use]
    pub const fn put(service: &'static str, path: &'static str) -> Self {
        Self::new(&Method::PUT, service, path)
    }

    /// As [`Operation::new`] with POST.
    #[must_use]
    pub const fn post(service: &'static str, path: &'static str) -> Self {
        Self::new(&Method::POST, service, path)
    }

    /// As [`Operation::new`] with PATCH.
    #[must_use]
    pub const fn patch(service: &'static str, path: &'static str) -> Self {
        Self::new(&Method::PATCH, service, path)
    }

    /// As [`Operation::new`] with DELETE.
    #[must_use]
    pub const fn delete(service: &'static str, path: &'static str) -> Self {
        Self::new(&Method::DELETE, service, path)
    }
}

impl<Q, A> Operation<Q, A> {
    /// With a body of this type.
    #[must_use]
    pub const fn takes<R>(self) -> Operation<R, A> {
        let Self { method, service, path, queries, .. } = self;
        Operation { method, service, path, queries, types: PhantomData }
    }

    /// With answers of this type.
    #[must_use]
    pub const fn answers<R>(self) -> Operation<Q, R> {
        let Self { method, service, path, queries, .. } = self;
        Operation { method, service, path, queries, types: PhantomData }
    }

    /// With these parameters in the query, in the place of those it had.
    #[must_use]
    pub const fn queries(mut self, names: &'static [&'static str]) -> Self {
        self.queries = names;
        self
    }

    /// The method.
    #[must_use]
    pub const fn method(&self) -> &'static Method {
        self.method
    }

    /// The logical name of the service.
    #[must_use]
    pub const fn service(&self) -> &'static str {
        self.service
    }

    /// The path, with its parameters in braces.
    #[must_use]
    pub const fn path(&self) -> &'static str {
        self.path
    }

    /// The names of the parameters in the query.
    #[must_use]
    pub const fn query_names(&self) -> &'static [&'static str] {
        self.queries
    }

    /// A call of it.
    pub fn call(&self, client: &Client) -> Call<Q, A> {
        Call {
            operation: *self,
            client: client.clone(),
            path: Vec::new(),
            query: String::new(),
            body: None,
            timeout: None,
            wrong: None,
        }
    }
}

// By hand: derived ones would want the types to be `Copy` too.
impl<Q, A> Clone for Operation<Q, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Q, A> Copy for Operation<Q, A> {}

impl<Q, A> fmt::Debug for Operation<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} http://{}{}", self.method, self.service, self.path)
    }
}

/// A call that is being put together. What is wrong with it is told by [`Call::send`].
#[must_use = "a call is made by `send`"]
pub struct Call<Q, A> {
    operation: Operation<Q, A>,
    client: Client,
    path: Vec<(&'static str, String)>,
    query: String,
    body: Option<Result<Vec<u8>, serde_json::Error>>,
    timeout: Option<Duration>,
    wrong: Option<String>,
}

impl<Q, A> Call<Q, A> {
    /// With this value of a parameter in the path; it is percent-encoded, `/` included.
    pub fn path(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.path.push((name, encoded(&value.to_string())));
        self
    }

    /// With this value of a parameter in the query; one of the same name is kept.
    pub fn query(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        if !self.operation.queries.contains(&name) {
            self.wrong = Some(format!("`{name}` is no parameter in the query of {:?}", self.operation));
        }
        let separator = if self.query.is_empty() { '?' } else { '&' };
        let (name, value) = (encoded(name), encoded(&value.to_string()));
        self.query.push(separator);
        self.query += &format!("{name}={value}");
        self
    }

    /// With a deadline, as [`RequestBuilder::timeout`](crate::RequestBuilder::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it, and waits for the head of the answer.
    ///
    /// # Errors
    /// As [`RequestBuilder::send`](crate::RequestBuilder::send); `Invalid` also where the body or a parameter of the
    /// path is missing.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// As [`Client::send`].
    pub async fn send(self) -> Result<Answer<A>, Error>
    where
        Q: 'static,
    {
        let url = self.url();
        if let Some(wrong) = self.wrong.or_else(|| missing(&url)) {
            return Err(Error::invalid(url, wrong));
        }
        let mut request = self.client.request(self.operation.method.clone(), &url);
        match self.body {
            Some(Ok(body)) => request = request.header("content-type", "application/json").body(body),
            Some(Err(error)) => return Err(Error::invalid(url, error)),
            None if TypeId::of::<Q>() == TypeId::of::<()>() => {}
            None => {
                return Err(Error::invalid(url, format!("it has no body: expected {}", type_name::<Q>())));
            }
        }
        if let Some(timeout) = self.timeout {
            request = request.timeout(timeout);
        }
        Ok(Answer { response: request.send().await?, kind: PhantomData })
    }

    fn url(&self) -> String {
        let Operation { service, path, .. } = self.operation;
        let mut path = path.to_owned();
        for (name, value) in &self.path {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        format!("http://{service}{path}{}", self.query)
    }
}

impl<Q: Serialize, A> Call<Q, A> {
    /// With this body.
    pub fn body(mut self, body: &Q) -> Self {
        self.body = Some(serde_json::to_vec(body));
        self
    }
}

impl<Q, A> fmt::Debug for Call<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("operation", &self.operation).finish_non_exhaustive()
    }
}

/// The answer to a call: its head is there, its body is not read yet.
#[must_use]
pub struct Answer<A> {
    response: Response,
    kind: PhantomData<fn() -> A>,
}

impl<A> Answer<A> {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// The answer as it is.
    #[must_use]
    pub fn into_response(self) -> Response {
        self.response
    }

    /// What was answered. An answer of the type `()` is not read.
    ///
    /// # Errors
    /// Where the status is an error, as [`Response::error_for_status`]; where the body is not what was expected, as
    /// [`Response::json`].
    ///
    /// # Cancel safety
    /// Dropping it gives the rest of the body up.
    pub async fn read(self) -> Result<A, Error>
    where
        A: DeserializeOwned + 'static,
    {
        let response = self.response.error_for_status()?;
        if TypeId::of::<A>() == TypeId::of::<()>()
            && let Ok(nothing) = serde_json::from_str("null")
        {
            return Ok(nothing);
        }
        response.json().await
    }
}

impl<A> fmt::Debug for Answer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("response", &self.response).finish()
    }
}

/// The parameter of the path that was not given.
fn missing(url: &str) -> Option<String> {
    let (name, _) = url.split_once('{')?.1.split_once('}')?;
    Some(format!("the parameter `{name}` of the path is missing"))
}

/// Percent-encoded, all but the unreserved characters (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use mainstay_discovery::fixed::Fixed;

    use super::*;

    const PAY: Operation<u32, bool> =
        Operation::put("payments", "/payments/{id}").takes().answers().queries(&["dry", "a b"]);

    fn client() -> Client {
        Client::new(Fixed::new())
    }

    #[test]
    fn what_is_given_is_encoded_into_the_path_and_the_query() {
        let call = PAY.call(&client()).path("id", "a/b?c{d}").query("dry", true).query("a b", "1&2");
        assert_eq!(call.url(), "http://payments/payments/a%2Fb%3Fc%7Bd%7D?dry=true&a%20b=1%262");
    }

    #[tokio::test]
    async fn what_is_missing_is_told_before_anything_is_sent() {
        let told = async |call: Call<u32, bool>| {
            let error = call.send().await.unwrap_err();
            std::error::Error::source(&error).map(ToString::to_string).unwrap_or_else(|| error.to_string())
        };
        let call = || PAY.call(&client());
        assert!(told(call().body(&1)).await.contains("the parameter `id` of the path is missing"));
        assert!(told(call().path("id", 1)).await.contains("it has no body: expected u32"));
        let told = told(call().path("id", 1).body(&1).query("wet", 1)).await;
        assert!(
            told.contains("`wet` is no parameter in the query of PUT http://payments/payments/{id}"),
            "{told}"
        );
    }
}
