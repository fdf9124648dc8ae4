//! What an order is, and what may be ordered.

use mainstay::{
    Error, Result,
    error::{Kind, Violation},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// More different products than this are no order.
const MOST_ITEMS: usize = 20;
const MOST_OF_ONE: u32 = 1_000;

/// What the customer sends.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Basket {
    pub(super) items: Vec<Wanted>,
    pub(super) payment_token: String,
}

#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    pub(super) sku: String,
    pub(super) quantity: u32,
}

/// An order, as it is stored and answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) items: Vec<Item>,
    pub(super) total_cents: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub(super) struct Item {
    pub(super) sku: String,
    pub(super) quantity: u32,
    /// Of one.
    pub(super) price_cents: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// Stock and payment are on their way. After a crash such an order is undone.
    Pending,
    Paid,
    Failed,
}

impl Basket {
    /// All that is wrong with it, at once.
    pub(super) fn check(&self) -> Result<()> {
        let mut wrong = Vec::new();
        if self.items.is_empty() || self.items.len() > MOST_ITEMS {
            wrong.push(Violation::new("items", format!("expected 1 to {MOST_ITEMS} items")));
        }
        for (index, Wanted { sku, quantity }) in self.items.iter().enumerate() {
            // A SKU becomes part of a path.
            let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if !(1..=32).contains(&sku.len()) || !sku.bytes().all(letters) {
                let expected = "expected 1 to 32 lower-case letters, digits and `-`";
                wrong.push(Violation::new(format!("items[{index}].sku"), expected));
            }
            if self.items.iter().take(index).any(|other| other.sku == *sku) {
                wrong.push(Violation::new(format!("items[{index}].sku"), "expected each product once"));
            }
            if !(1..=MOST_OF_ONE).contains(quantity) {
                let expected = format!("expected 1 to {MOST_OF_ONE}");
                wrong.push(Violation::new(format!("items[{index}].quantity"), expected));
            }
        }
        if !(1..=64).contains(&self.payment_token.len()) {
            wrong.push(Violation::new("payment_token", "expected 1 to 64 characters"));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let error = Error::new(Kind::Unprocessable).with_detail("the order is not complete");
        Err(wrong.into_iter().fold(error, Error::with_violation))
    }
}

impl Order {
    /// A new order.
    pub(super) fn new(items: Vec<Item>) -> Result<Self> {
        let total = items
            .iter()
            .try_fold(0u32, |sum, item| sum.checked_add(item.price_cents.checked_mul(item.quantity)?));
        let total_cents = total.ok_or_else(|| Error::invalid("items", "a total that can be paid"))?;
        let id = format!("{:032x}", fastrand::u128(..));
        Ok(Self { id, status: Status::Pending, reason: None, items, total_cents })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basket(items: &[(&str, u32)], token: &str) -> Basket {
        let items =
            items.iter().map(|(sku, quantity)| Wanted { sku: (*sku).to_owned(), quantity: *quantity });
        Basket { items: items.collect(), payment_token: token.to_owned() }
    }

    #[test]
    fn all_that_is_wrong_with_a_basket_is_told_at_once() {
        assert!(basket(&[("mug", 1), ("lamp", 1000)], "tok").check().is_ok());
        let error = basket(&[("../x", 0), ("mug", 1), ("mug", 1001)], "").check().unwrap_err();
        let fields: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(
            fields,
            ["items[0].sku", "items[0].quantity", "items[2].sku", "items[2].quantity", "payment_token"]
        );
        assert_eq!(basket(&[], "tok").check().unwrap_err().violations()[0].field, "items");
        assert!(basket(&[("mug", 1); 21], "tok").check().is_err());
    }

    #[test]
    fn a_total_that_does_not_fit_is_refused() {
        let item = |price_cents| Item { sku: "x".to_owned(), quantity: 1000, price_cents };
        assert_eq!(Order::new(vec![item(5), item(7)]).unwrap().total_cents, 12_000);
        assert_eq!(Order::new(vec![item(u32::MAX)]).unwrap_err().kind(), Kind::Unprocessable);
    }
}
