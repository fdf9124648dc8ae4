//! `PUT`, `GET` and `DELETE /payments/{id}`.

use std::{sync::Arc, time::Duration};

use mainstay::{
    Error, Result,
    axum::{self, Json, extract::State, http::StatusCode},
    error::Kind,
    extract,
};
use sqlx::Row;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Charge, Payment, Status,
    chaos::{Chaos, Fate},
};
use crate::{database::Database, interfaces};

/// The token that the bank declines.
const DECLINED: &str = "tok_declined";

#[derive(Clone)]
struct Payments {
    database: Database,
    chaos: Arc<Chaos>,
}

pub(super) fn routes(database: Database, chaos: Chaos) -> OpenApiRouter {
    let payments = Payments { database, chaos: Arc::new(chaos) };
    interfaces::router().routes(routes!(pay, show, void)).with_state(payments)
}

/// Makes a payment, once for each id.
#[utoipa::path(
    put,
    path = "/payments/{id}",
    responses(
        (status = 200, description = "what became of it", body = Payment),
        (status = 409, description = "there is another one of this id, or it was taken back"),
        (status = 503, description = "the bank did not answer"),
    ),
)]
async fn pay(
    State(payments): State<Payments>,
    extract::Path(id): extract::Path<String>,
    extract::Json(charge): extract::Json<Charge>,
) -> Result<Json<Payment>> {
    check_id(&id)?;
    payments.chaos.wait().await;
    let fate = payments.chaos.next();
    if fate == Fate::Lost {
        return Err(unanswered());
    }
    let payment = payments.make(&id, &charge).await?;
    if fate == Fate::MadeAndLost { Err(unanswered()) } else { Ok(Json(payment)) }
}

/// A payment.
#[utoipa::path(
    get,
    path = "/payments/{id}",
    responses((status = 200, description = "it", body = Payment), (status = 404, description = "there is none")),
)]
async fn show(
    State(payments): State<Payments>,
    extract::Path(id): extract::Path<String>,
) -> Result<Json<Payment>> {
    let status = payments.status(&id).await?;
    let missing = || Error::new(Kind::NotFound).with_detail(format!("there is no payment `{id}`"));
    let status = status.ok_or_else(missing)?;
    Ok(Json(Payment { id, status }))
}

/// Takes a payment back, also one that comes later.
#[utoipa::path(delete, path = "/payments/{id}", responses((status = 204, description = "it is not paid")))]
async fn void(
    State(payments): State<Payments>,
    extract::Path(id): extract::Path<String>,
) -> Result<StatusCode> {
    check_id(&id)?;
    // Remembered even if there is no such payment: one that comes after this must not be made.
    sqlx::query(
        "INSERT INTO payments (id, amount_cents, token, status) VALUES (?, 0, '', 'void')
         ON CONFLICT DO UPDATE SET status = 'void'",
    )
    .bind(&id)
    .execute(payments.database.pool())
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Payments {
    /// Makes the payment, unless there is one of this id.
    async fn make(&self, id: &str, Charge { amount_cents, token }: &Charge) -> Result<Payment> {
        let status = if token == DECLINED { Status::Declined } else { Status::Paid };
        let mut transaction = self.database.write().await?;
        sqlx::query(
            "INSERT INTO payments (id, amount_cents, token, status) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .bind(amount_cents)
        .bind(token)
        .bind(word(status))
        .execute(&mut *transaction)
        .await?;
        let row = sqlx::query("SELECT amount_cents, token, status FROM payments WHERE id = ?")
            .bind(id)
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let status = status_of(row.try_get("status")?);
        let conflict = |detail| Err(Error::new(Kind::Conflict).with_detail(detail));
        if status == Status::Void {
            return conflict(format!("the payment `{id}` was taken back"));
        }
        let same = row.try_get::<u32, _>("amount_cents")? == *amount_cents
            && row.try_get::<&str, _>("token")? == token;
        if !same {
            return conflict(format!("there is another payment `{id}`"));
        }
        Ok(Payment { id: id.to_owned(), status })
    }

    async fn status(&self, id: &str) -> Result<Option<Status>> {
        let status: Option<String> = sqlx::query_scalar("SELECT status FROM payments WHERE id = ?")
            .bind(id)
            .fetch_optional(self.database.pool())
            .await?;
        Ok(status.as_deref().map(status_of))
    }
}

/// As it stands in the database.
fn word(status: Status) -> &'static str {
    match status {
        Status::Paid => "paid",
        Status::Declined => "declined",
        Status::Void => "void",
    }
}

/// The database lets nothing in but the three.
fn status_of(word: &str) -> Status {
    match word {
        "paid" => Status::Paid,
        "declined" => Status::Declined,
        _ => Status::Void,
    }
}

fn unanswered() -> Error {
    Error::new(Kind::Unavailable)
        .with_detail("the bank did not answer")
        .with_retry_after(Duration::from_secs(1))
}

fn check_id(id: &str) -> Result<()> {
    if id.len() <= 64 { Ok(()) } else { Err(Error::invalid("id", "at most 64 characters")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        interfaces::tests::exchange,
        payments::{SCHEMA, config::Config},
    };

    async fn payments(failure_rate: f64) -> OpenApiRouter {
        let database = Database::new(None, SCHEMA).unwrap();
        database.create().await.unwrap();
        let config = Config { failure_rate, ..Config::default() };
        routes(database, Chaos::new(mainstay::config::Watched::fixed(config)))
    }

    async fn call(router: &OpenApiRouter, method: &str, id: &str, token: &str) -> (u16, serde_json::Value) {
        let charge = serde_json::json!({"amount_cents": 100, "token": token});
        exchange(router.clone(), method, &format!("/payments/{id}"), Some(charge).filter(|_| method == "PUT"))
            .await
    }

    #[tokio::test]
    async fn a_payment_is_made_once_however_often_it_is_put() {
        let router = payments(0.0).await;
        for _ in 0..2 {
            let (status, payment) = call(&router, "PUT", "one", "tok_visa").await;
            assert_eq!((status, payment["status"].as_str()), (200, Some("paid")));
        }
        assert_eq!(call(&router, "PUT", "one", "tok_other").await.0, 409);
        let (_, payment) = call(&router, "PUT", "two", "tok_declined").await;
        assert_eq!(payment["status"], "declined");
    }

    #[tokio::test]
    async fn what_was_taken_back_is_never_paid_not_even_later() {
        let router = payments(0.0).await;
        call(&router, "PUT", "one", "tok_visa").await;
        for id in ["one", "never"] {
            assert_eq!(call(&router, "DELETE", id, "").await.0, 204);
            assert_eq!(call(&router, "GET", id, "").await.1["status"], "void");
            assert_eq!(call(&router, "PUT", id, "tok_visa").await.0, 409);
        }
    }

    #[tokio::test]
    async fn a_failure_is_a_503_that_says_when_to_come_back() {
        let router = payments(1.0).await;
        let (status, problem) = call(&router, "PUT", "one", "tok_visa").await;
        assert_eq!((status, problem["detail"].as_str()), (503, Some("the bank did not answer")));
    }
}
