//! The other services, as orders see them. An error that comes out of here is fit for the customer.

use std::time::Duration;

use mainstay::{
    Client, Error, Result,
    context::Deadline,
    error::{Kind, Violation},
    tonic::{Code, Status},
};

use super::order::{Item, Wanted};
use crate::{
    catalog::PRICE,
    inventory::proto::{Line, ReleaseRequest, ReserveRequest, inventory_client::InventoryClient},
    payments::{self, Charge, PAY, Payment, TAKE_BACK},
};

/// How often a payment is tried: it has an id, so that no try pays twice.
const TRIES: u32 = 3;

#[derive(Debug, Clone)]
pub(super) struct Services {
    client: Client,
    payment_timeout: Duration,
}

impl Services {
    pub(super) fn new(client: Client, payment_timeout: Duration) -> Self {
        Self { client, payment_timeout }
    }

    /// What one of a product costs.
    pub(super) async fn price(&self, wanted: &Wanted) -> Result<Item> {
        let Wanted { sku, quantity } = wanted;
        let answer = PRICE.call(&self.client).path("sku", sku).send().await;
        let answer = answer.map_err(|error| unavailable("the catalogue", error.into()))?;
        if answer.status() == 404 {
            return Err(Error::new(Kind::NotFound).with_detail(format!("there is no product `{sku}`")));
        }
        let price_cents = answer.read().await?.price_cents;
        Ok(Item { sku: sku.clone(), quantity: *quantity, price_cents })
    }

    /// Takes the items off the stock.
    pub(super) async fn reserve(&self, order: &str, items: &[Item]) -> Result<()> {
        let line = |item: &Item| Line { sku: item.sku.clone(), quantity: item.quantity };
        let lines = items.iter().map(line).collect();
        let request = ReserveRequest { reservation_id: order.to_owned(), lines };
        match self.inventory().reserve(request).await {
            Ok(_) => Ok(()),
            Err(status) => Err(stock_error(status)),
        }
    }

    /// Puts the items back.
    pub(super) async fn release(&self, order: &str) -> Result<()> {
        self.inventory().release(ReleaseRequest { reservation_id: order.to_owned() }).await?;
        Ok(())
    }

    /// Pays; tries again where the answer did not come.
    pub(super) async fn pay(&self, order: &str, charge: &Charge) -> Result<()> {
        let mut tries = 1;
        loop {
            let error = match self.try_to_pay(order, charge).await {
                Ok(Payment { status: payments::Status::Paid, .. }) => return Ok(()),
                Ok(Payment { status: payments::Status::Declined | payments::Status::Void, .. }) => {
                    return Err(Error::new(Kind::Unprocessable)
                        .with_detail("the payment was declined; the order was not placed")
                        .with_violation(Violation::new("payment_token", "the bank declined it")));
                }
                Err(error) => error,
            };
            let no_answer =
                matches!(error.kind(), Kind::Unavailable | Kind::DeadlineExceeded | Kind::BadGateway);
            if !no_answer || tries == TRIES {
                let detail = "the payment did not go through: the order was not placed, and what may have been paid is given back";
                return Err(Error::new(Kind::Unavailable)
                    .with_detail(detail)
                    .with_retry_after(Duration::from_secs(5))
                    .with_source(error.into_boxed()));
            }
            tracing::info!(order, tries, %error, "payment failed, trying again");
            tokio::time::sleep(Duration::from_millis(100) * tries).await;
            tries += 1;
        }
    }

    async fn try_to_pay(&self, order: &str, charge: &Charge) -> Result<Payment> {
        let call = PAY.call(&self.client).path("id", order).body(charge);
        Ok(call.timeout(self.payment_timeout).send().await?.read().await?)
    }

    /// Takes a payment back, whether or not it was made.
    pub(super) async fn take_back(&self, order: &str) -> Result<()> {
        Ok(TAKE_BACK.call(&self.client).path("id", order).send().await?.read().await?)
    }

    fn inventory(&self) -> InventoryClient<mainstay::client::grpc::Channel> {
        InventoryClient::new(self.client.channel("inventory"))
    }
}

/// What the stock says is for the customer where it is about the order.
fn stock_error(status: Status) -> Error {
    let kind = match status.code() {
        Code::NotFound => Kind::NotFound,
        Code::FailedPrecondition => Kind::Conflict,
        _ => return unavailable("the stock", status.into()),
    };
    Error::new(kind).with_detail(status.message().to_owned()).with_source(status)
}

/// Names the part of the shop that does not answer, and keeps why for the log.
fn unavailable(part: &str, error: Error) -> Error {
    let kind = match error.kind() {
        kind @ (Kind::Unavailable | Kind::DeadlineExceeded | Kind::BadGateway) => kind,
        // It is orders that was refused, not the customer.
        Kind::Unauthenticated | Kind::PermissionDenied => Kind::BadGateway,
        _ => return error,
    };
    let outer = Error::new(kind).with_detail(format!("{part} does not answer now; the order was not placed"));
    outer.with_source(error.into_boxed())
}

/// For work that goes on after its request: a time of its own.
pub(super) fn own_deadline() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}
