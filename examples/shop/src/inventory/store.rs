//! The stock, and what is reserved of it. Each change is one transaction, so that no order of requests and no crash
//! between two of them sells what is not there.

use std::collections::BTreeMap;

use mainstay::{Error, Result, error::Kind};
use sqlx::Row;

use super::proto::Line;
use crate::database::Database;

pub(super) const SCHEMA: &str = include_str!("schema.sql");

#[derive(Debug, Clone)]
pub(super) struct Store {
    database: Database,
}

impl Store {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Puts products on stock that are not known yet.
    pub(super) async fn fill(&self, stock: &BTreeMap<String, u32>) -> Result<()> {
        let mut transaction = self.database.write().await?;
        for (sku, available) in stock {
            sqlx::query("INSERT INTO stock (sku, available) VALUES (?, ?) ON CONFLICT DO NOTHING")
                .bind(sku)
                .bind(available)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Takes all lines off the stock, or none.
    pub(super) async fn reserve(&self, reservation: &str, lines: &[Line]) -> Result<()> {
        let mut transaction = self.database.write().await?;
        let known = sqlx::query("SELECT released FROM reservations WHERE id = ?")
            .bind(reservation)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(known) = known {
            return match known.try_get("released")? {
                false => Ok(()),
                true => Err(Error::new(Kind::FailedPrecondition).with_detail("the reservation was released")),
            };
        }
        sqlx::query("INSERT INTO reservations (id) VALUES (?)")
            .bind(reservation)
            .execute(&mut *transaction)
            .await?;
        for Line { sku, quantity } in lines {
            let taken =
                sqlx::query("UPDATE stock SET available = available - ?1 WHERE sku = ?2 AND available >= ?1")
                    .bind(quantity)
                    .bind(sku)
                    .execute(&mut *transaction)
                    .await?;
            if taken.rows_affected() == 0 {
                let left: Option<u32> = sqlx::query_scalar("SELECT available FROM stock WHERE sku = ?")
                    .bind(sku)
                    .fetch_optional(&mut *transaction)
                    .await?;
                return Err(match left {
                    Some(left) => Error::new(Kind::FailedPrecondition).with_detail(format!(
                        "not enough of `{sku}` in stock: {left} left, {quantity} wanted"
                    )),
                    None => Error::new(Kind::NotFound).with_detail(format!("there is no product `{sku}`")),
                });
            }
            sqlx::query("INSERT INTO reserved (reservation, sku, quantity) VALUES (?, ?, ?)")
                .bind(reservation)
                .bind(sku)
                .bind(quantity)
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Puts back what a reservation took. Remembered even if there is no such reservation: one that was sent before
    /// its release, and arrives after it, must not hold anything.
    pub(super) async fn release(&self, reservation: &str) -> Result<()> {
        let mut transaction = self.database.write().await?;
        let released: Option<bool> = sqlx::query_scalar("SELECT released FROM reservations WHERE id = ?")
            .bind(reservation)
            .fetch_optional(&mut *transaction)
            .await?;
        if released == Some(true) {
            return Ok(());
        }
        sqlx::query(
            "UPDATE stock SET available = available + (
                 SELECT sum(quantity) FROM reserved WHERE reservation = ?1 AND sku = stock.sku)
             WHERE sku IN (SELECT sku FROM reserved WHERE reservation = ?1)",
        )
        .bind(reservation)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO reservations (id, released) VALUES (?, TRUE) ON CONFLICT DO UPDATE SET released = TRUE",
        )
        .bind(reservation)
        .execute(&mut *transaction)
        .await?;
        Ok(transaction.commit().await?)
    }

    /// How much is left of every product.
    pub(super) async fn stock(&self) -> Result<Vec<Line>> {
        let rows = sqlx::query("SELECT sku, available FROM stock ORDER BY sku")
            .fetch_all(self.database.pool())
            .await?;
        rows.iter()
            .map(|row| Ok(Line { sku: row.try_get("sku")?, quantity: row.try_get("available")? }))
            .collect()
    }
}
