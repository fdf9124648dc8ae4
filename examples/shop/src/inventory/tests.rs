//! What must never happen to a stock.

use std::sync::Arc;

use mainstay::error::Kind;
use tokio::task::JoinSet;

use super::{
    proto::Line,
    store::{SCHEMA, Store},
};
use crate::database::Database;

async fn store(stock: &[(&str, u32)]) -> Store {
    let database = Database::new(None, SCHEMA).unwrap();
    database.create().await.unwrap();
    let store = Store::new(database);
    store
        .fill(&stock.iter().map(|(sku, available)| ((*sku).to_owned(), *available)).collect())
        .await
        .unwrap();
    store
}

fn lines(lines: &[(&str, u32)]) -> Vec<Line> {
    lines.iter().map(|(sku, quantity)| Line { sku: (*sku).to_owned(), quantity: *quantity }).collect()
}

async fn left(store: &Store) -> Vec<(String, u32)> {
    store.stock().await.unwrap().into_iter().map(|line| (line.sku, line.quantity)).collect()
}

#[tokio::test]
async fn a_reservation_takes_all_lines_or_none() {
    let store = store(&[("lamp", 2), ("mug", 10)]).await;
    let error = store.reserve("one", &lines(&[("mug", 3), ("lamp", 3)])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert_eq!(error.detail(), Some("not enough of `lamp` in stock: 2 left, 3 wanted"));
    let error = store.reserve("one", &lines(&[("mug", 3), ("ghost", 1)])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(left(&store).await, [("lamp".to_owned(), 2), ("mug".to_owned(), 10)]);
    store.reserve("one", &lines(&[("mug", 3), ("lamp", 2)])).await.unwrap();
    assert_eq!(left(&store).await, [("lamp".to_owned(), 0), ("mug".to_owned(), 7)]);
}

#[tokio::test]
async fn the_same_reservation_and_the_same_release_count_once() {
    let store = store(&[("mug", 10)]).await;
    for _ in 0..3 {
        store.reserve("one", &lines(&[("mug", 3), ("mug", 1)])).await.unwrap();
        assert_eq!(left(&store).await, [("mug".to_owned(), 6)]);
    }
    for _ in 0..3 {
        store.release("one").await.unwrap();
        assert_eq!(left(&store).await, [("mug".to_owned(), 10)]);
    }
}

#[tokio::test]
async fn a_reservation_that_comes_after_its_release_holds_nothing() {
    let store = store(&[("mug", 10)]).await;
    store.release("late").await.unwrap();
    let error = store.reserve("late", &lines(&[("mug", 3)])).await.unwrap_err();
    assert_eq!(error.kind(), Kind::FailedPrecondition);
    assert_eq!(left(&store).await, [("mug".to_owned(), 10)]);
}

#[tokio::test]
async fn a_dropped_reservation_leaves_no_half() {
    let store = store(&[("mug", 10)]).await;
    for polls in 1..40 {
        let id = polls.to_string();
        let lines = lines(&[("mug", 1), ("mug", 1)]);
        let mut reservation = Box::pin(store.reserve(&id, &lines));
        for _ in 0..polls {
            if futures_util::poll!(&mut reservation).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(reservation);
        let (_, left) = left(&store).await.remove(0);
        assert_eq!(left % 2, 0, "after {polls} polls");
        store.release(&id).await.unwrap();
        assert_eq!(super::tests::left(&store).await, [("mug".to_owned(), 10)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_never_sell_more_than_there_is() {
    let file = tempfile::tempdir().unwrap();
    let database = Database::new(Some(&file.path().join("stock.db")), SCHEMA).unwrap();
    database.create().await.unwrap();
    let store = Arc::new(Store::new(database));
    store.fill(&[("mug".to_owned(), 25)].into()).await.unwrap();
    let mut buyers = JoinSet::new();
    for buyer in 0..60 {
        let store = Arc::clone(&store);
        buyers.spawn(async move {
            let id = buyer.to_string();
            let bought = store.reserve(&id, &lines(&[("mug", 1)])).await;
            if let Err(error) = &bought {
                assert_eq!(error.kind(), Kind::FailedPrecondition, "{error:?}");
            }
            // Every tenth changes its mind.
            if buyer % 10 == 0 {
                store.release(&id).await.unwrap();
                return 0;
            }
            u32::from(bought.is_ok())
        });
    }
    let sold: u32 = buyers.join_all().await.into_iter().sum();
    assert_eq!(left(&store).await, [("mug".to_owned(), 25 - sold)]);
    assert!(sold <= 25);
}
