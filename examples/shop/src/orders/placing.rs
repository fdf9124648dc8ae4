//! How an order is placed: kept as pending, stock reserved, paid, kept as paid; or undone.
//!
//! Every step can be repeated and taken back by the order's id, so that it does not matter at which of them the
//! process was killed: what stays pending is undone later ([`Placing::recover`]).

use std::time::Duration;

use futures_util::future::{join, try_join_all};
use mainstay::{Error, Result, context::RequestContext, error::Kind, task::Tasks};

use super::{
    events::Changes,
    order::{Basket, Order, Status},
    services::{Services, own_deadline},
    store::Store,
};
use crate::payments::Charge;

#[derive(Debug, Clone)]
pub(super) struct Placing {
    pub(super) store: Store,
    pub(super) services: Services,
    pub(super) changes: Changes,
    /// Orders under way. The process waits for them before it closes the database.
    pub(super) tasks: Tasks,
}

impl Placing {
    /// Places an order.
    ///
    /// # Cancel safety
    /// Once the prices are known the order goes its way to the end, whether or not the customer still waits.
    pub(super) async fn place(&self, basket: Basket) -> Result<Order> {
        basket.check()?;
        let items = try_join_all(basket.items.iter().map(|wanted| self.services.price(wanted))).await?;
        let order = Order::new(items)?;
        let charge = Charge { amount_cents: order.total_cents, token: basket.payment_token };
        let placing = self.clone();
        self.tasks.spawn(async move { placing.carry_out(order, charge).await }).await?
    }

    async fn carry_out(self, mut order: Order, charge: Charge) -> Result<Order> {
        self.store.insert(&order).await?;
        match self.reserve_and_pay(&order, &charge).await {
            Ok(()) => {
                order.status = Status::Paid;
                self.changes.tell(&order.id, order.status);
                Ok(order)
            }
            Err(error) => {
                self.undo(&order.id, error.detail().unwrap_or("the order could not be placed")).await;
                Err(error)
            }
        }
    }

    async fn reserve_and_pay(&self, order: &Order, charge: &Charge) -> Result<()> {
        self.services.reserve(&order.id, &order.items).await?;
        self.services.pay(&order.id, charge).await?;
        if self.store.finish(&order.id, Status::Paid, None).await? {
            return Ok(());
        }
        Err(Error::new(Kind::Conflict).with_detail("the order took too long and was undone"))
    }

    /// Takes back whatever was done for an order. Its request may be out of time by now, so this has its own. What
    /// can't be taken back now stays pending, and is tried again.
    async fn undo(&self, id: &str, reason: &str) {
        let request = RequestContext::current().unwrap_or_default();
        let context =
            RequestContext::new().with_trace(*request.trace()).with_ambient(request.ambient().clone());
        let undone = context.with_deadline(own_deadline()).scope(async {
            // Side by side: one that does not answer must not keep the other.
            let (released, taken_back) = join(self.services.release(id), self.services.take_back(id)).await;
            released.and(taken_back)?;
            self.store.finish(id, Status::Failed, Some(reason)).await
        });
        match undone.await {
            Ok(true) => self.changes.tell(id, Status::Failed),
            // Somebody else ended it, and told.
            Ok(false) => {}
            Err(error) => tracing::warn!(order = id, %error, "an order could not be undone yet"),
        }
    }

    /// Undoes orders that were left behind, now and then, until the process stops.
    pub(super) async fn recover(self, after: Duration, every: Duration) -> Result<()> {
        let stopping = self.tasks.stopping();
        loop {
            tokio::select! {
                () = stopping.cancelled() => return Ok(()),
                () = tokio::time::sleep(every) => {}
            }
            match self.store.left_behind(after).await {
                Ok(left) => {
                    for id in left {
                        tracing::info!(order = id, "undoing an order that was left behind");
                        self.undo(&id, "the shop was interrupted").await;
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot look for orders that were left behind"),
            }
        }
    }
}
