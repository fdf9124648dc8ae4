//! A client for itself (RFC 6749 section 4.4).

use super::{Access, limits, made::Answer};
use crate::issuer::{Provider, client::Client, form::Form, refused::Refused};

pub(super) fn answer(provider: &Provider, client: &Client, form: &Form) -> Result<Answer, Refused> {
    let may = |scope: &str| client.config.scopes.contains(scope) && !limits::is_about_people(scope);
    let scopes = limits::scopes(form, may, || client.config.scopes.iter().filter(|scope| may(scope)))?;
    let audiences = limits::audiences(form, &client.config.audiences)?;
    provider.answer(&Access {
        // RFC 9068 section 2.2: the client, where it is not somebody's.
        subject: &client.id,
        client: &client.id,
        scopes: &scopes,
        audiences: &audiences,
        roles: &client.config.roles,
        grant: None,
        authenticated: None,
        until: None,
        actor: None,
    })
}
