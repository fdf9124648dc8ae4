//! The orders in the database.

use std::time::Duration;

use mainstay::Result;
use sqlx::{Row, sqlite::SqliteRow};

use super::order::{Order, Status};
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

    /// Keeps a new order.
    pub(super) async fn insert(&self, order: &Order) -> Result<()> {
        sqlx::query("INSERT INTO orders (id, status, items, total_cents) VALUES (?, ?, ?, ?)")
            .bind(&order.id)
            .bind(word(order.status))
            .bind(serde_json::to_string(&order.items)?)
            .bind(order.total_cents)
            .execute(self.database.pool())
            .await?;
        Ok(())
    }

    /// Ends a pending order; false if it is not pending any more.
    pub(super) async fn finish(&self, id: &str, status: Status, reason: Option<&str>) -> Result<bool> {
        let done =
            sqlx::query("UPDATE orders SET status = ?, reason = ? WHERE id = ? AND status = 'pending'")
                .bind(word(status))
                .bind(reason)
                .bind(id)
                .execute(self.database.pool())
                .await?;
        Ok(done.rows_affected() == 1)
    }

    pub(super) async fn find(&self, id: &str) -> Result<Option<Order>> {
        let row = sqlx::query("SELECT * FROM orders WHERE id = ?")
            .bind(id)
            .fetch_optional(self.database.pool())
            .await?;
        row.as_ref().map(order).transpose()
    }

    /// The last orders, the newest first.
    pub(super) async fn latest(&self, limit: u32) -> Result<Vec<Order>> {
        let rows = sqlx::query("SELECT * FROM orders ORDER BY placed_at DESC, rowid DESC LIMIT ?")
            .bind(limit)
            .fetch_all(self.database.pool())
            .await?;
        rows.iter().map(order).collect()
    }

    /// Orders that have been pending for longer than any request takes.
    pub(super) async fn left_behind(&self, age: Duration) -> Result<Vec<String>> {
        let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        let left = sqlx::query_scalar(
            "SELECT id FROM orders WHERE status = 'pending' AND placed_at <= unixepoch() - ? LIMIT 100",
        );
        Ok(left.bind(age).fetch_all(self.database.pool()).await?)
    }
}

fn order(row: &SqliteRow) -> Result<Order> {
    Ok(Order {
        id: row.try_get("id")?,
        status: status(row.try_get("status")?),
        reason: row.try_get("reason")?,
        items: serde_json::from_str(row.try_get("items")?)?,
        total_cents: row.try_get("total_cents")?,
    })
}

/// As it stands in the database.
fn word(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Paid => "paid",
        Status::Failed => "failed",
    }
}

/// The database lets nothing in but the three.
fn status(word: &str) -> Status {
    match word {
        "pending" => Status::Pending,
        "paid" => Status::Paid,
        _ => Status::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::order::Item;

    #[tokio::test]
    async fn an_order_is_read_back_and_ends_once() {
        let database = Database::new(None, SCHEMA).unwrap();
        database.create().await.unwrap();
        let store = Store::new(database);
        let item = Item { sku: "mug".to_owned(), quantity: 2, price_cents: 1_250 };
        let mut order = Order::new(vec![item]).unwrap();
        store.insert(&order).await.unwrap();
        assert_eq!(store.find(&order.id).await.unwrap(), Some(order.clone()));
        assert!(store.left_behind(Duration::from_secs(60)).await.unwrap().is_empty());
        assert_eq!(store.left_behind(Duration::ZERO).await.unwrap(), [order.id.clone()]);
        assert!(store.finish(&order.id, Status::Failed, Some("no stock")).await.unwrap());
        assert!(!store.finish(&order.id, Status::Paid, None).await.unwrap());
        order.status = Status::Failed;
        order.reason = Some("no stock".to_owned());
        assert_eq!(store.latest(5).await.unwrap(), [order]);
        assert!(store.left_behind(Duration::ZERO).await.unwrap().is_empty());
    }
}
