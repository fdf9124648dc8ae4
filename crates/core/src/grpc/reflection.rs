//! gRPC server reflection, `v1` and `v1alpha`.

use axum::Router;
use tonic::server::NamedService;
use tonic_reflection::server::{Builder, Error};
use tower_service::Service;

use super::descriptor;
use crate::Body;

/// Descriptor sets that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("a file descriptor set can't be read")]
#[non_exhaustive]
pub struct InvalidDescriptors(#[source] Error);

/// The reflection services for these encoded `FileDescriptorSet`s, as routes; health and reflection itself are
/// described too. Tools such as grpcurl ask for `v1` or, when older, `v1alpha`.
///
/// Reflection shows the whole interface to whoever can call it: leave it out where that is not wanted.
///
/// # Errors
/// [`InvalidDescriptors`] when a set is not one.
pub fn reflection<'a>(sets: impl IntoIterator<Item = &'a [u8]>) -> Result<Router, InvalidDescriptors> {
    let health = descriptor::health();
    let mut sets: Vec<&[u8]> = sets.into_iter().collect();
    sets.push(&health);
    let builder =
        || sets.iter().fold(Builder::configure(), |all, set| all.register_encoded_file_descriptor_set(set));
    let v1 = builder().build_v1().map_err(InvalidDescriptors)?;
    let v1alpha = builder().build_v1alpha().map_err(InvalidDescriptors)?;
    Ok(mount(mount(Router::new(), v1), v1alpha))
}

fn mount<S>(router: Router, service: S) -> Router
where
    S: Service<
            http::Request<Body>,
            Response = http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    router.route_service(&format!("/{}/{{*method}}", S::NAME), service)
}
