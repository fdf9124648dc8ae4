//! Connecting to the first of several addresses that answers (Happy Eyeballs, RFC 8305).

use std::{fmt::Write as _, io, net::SocketAddr, pin::Pin, task::Poll, time::Duration};

use tokio::time::{Instant, sleep_until};

/// After so long without an answer the next address is tried as well (RFC 8305 section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// So many addresses of a name are tried at most: what a name server says is not to be trusted.
const MOST: usize = 32;

/// Opens a connection to the first address that takes it. Attempts run beside each other, each begun when the one
/// before it has failed or has not answered for a while; those that lose are dropped.
pub(super) async fn race<T, F>(
    addresses: impl IntoIterator<Item = SocketAddr>,
    open: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut waiting = interleave(addresses.into_iter().take(MOST)).into_iter().peekable();
    let mut under_way: Vec<(SocketAddr, Pin<Box<F>>)> = Vec::new();
    let mut failed: Vec<(SocketAddr, io::Error)> = Vec::new();
    let mut next_is_due = Box::pin(sleep_until(Instant::now()));
    loop {
        if let Some(address) = waiting.next() {
            under_way.push((address, Box::pin(open(address))));
            next_is_due.as_mut().reset(Instant::now() + ATTEMPT_DELAY);
        }
        if under_way.is_empty() {
            return Err(none_answers(failed));
        }
        let more = waiting.peek().is_some();
        let ended = std::future::poll_fn(|cx| {
            for (index, (address, attempt)) in under_way.iter_mut().enumerate() {
                if let Poll::Ready(outcome) = attempt.as_mut().poll(cx) {
                    return Poll::Ready(Some((index, *address, outcome)));
                }
            }
            if more && next_is_due.as_mut().poll(cx).is_ready() { Poll::Ready(None) } else { Poll::Pending }
        });
        match ended.await {
            Some((_, _, Ok(opened))) => return Ok(opened),
            Some((index, address, Err(error))) => {
                drop(under_way.swap_remove(index));
                failed.push((address, error));
            }
            None => {}
        }
    }
}

/// One of each family in turn, the family of the first address first, the order within each kept: it is that of RFC
/// 6724, from the resolver (RFC 8305 section 4).
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let first = all.first().is_some_and(SocketAddr::is_ipv4);
    let (one, other): (Vec<_>, Vec<_>) = all.into_iter().partition(|address| address.is_ipv4() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut mixed = Vec::with_capacity(one.len() + other.len());
    loop {
        let pair = [one.next(), other.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// The error of the only address as it is; of several, each with its own.
fn none_answers(failed: Vec<(SocketAddr, io::Error)>) -> io::Error {
    let Some((_, first)) = failed.first() else {
        return io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    };
    let kind = first.kind();
    if failed.len() == 1 {
        return failed.into_iter().next().map_or_else(|| kind.into(), |(_, error)| error);
    }
    let mut text = "none of the addresses answers: ".to_owned();
    for (index, (address, error)) in failed.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{address} ({error})");
    }
    io::Error::new(kind, text)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    fn addresses(of: &[&str]) -> Vec<SocketAddr> {
        of.iter().map(|address| address.parse().unwrap()).collect()
    }

    /// Each address answers after so many milliseconds, or never.
    async fn raced(
        peers: &'static [(&'static str, Option<u64>, bool)],
    ) -> (io::Result<SocketAddr>, Duration) {
        let start = Instant::now();
        let outcome =
            race(peers.iter().map(|(address, ..)| address.parse().unwrap()), |address| async move {
                let (_, after, connects) =
                    peers.iter().find(|(other, ..)| other.parse() == Ok(address)).unwrap();
                match after {
                    Some(after) => tokio::time::sleep(Duration::from_millis(*after)).await,
                    None => std::future::pending().await,
                }
                if *connects { Ok(address) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
            });
        (outcome.await, start.elapsed())
    }

    #[test]
    fn the_families_take_turns() {
        let given = addresses(&["[::1]:1", "[::2]:1", "[::2]:1", "[::3]:1", "10.0.0.1:1"]);
        let expected = addresses(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(interleave(given.into_iter()), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_costs_a_quarter_of_a_second() {
        let (won, took) = raced(&[("[::1]:1", None, true), ("10.0.0.1:1", Some(10), true)]).await;
        assert_eq!(won.unwrap().to_string(), "10.0.0.1:1");
        assert_eq!(took, ATTEMPT_DELAY + Duration::from_millis(10));
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_one_begins_at_once_when_one_fails_and_a_slow_one_may_still_win() {
        let (won, took) = raced(&[
            ("[::1]:1", Some(5), false),
            ("10.0.0.1:1", Some(400), true),
            ("[::2]:1", Some(900), true),
        ])
        .await;
        assert_eq!(won.unwrap().to_string(), "10.0.0.1:1");
        assert_eq!(took, Duration::from_millis(405));
    }

    #[tokio::test(start_paused = true)]
    async fn losers_are_dropped_and_all_failures_are_told() {
        let (lost, _) = raced(&[("[::1]:1", Some(5), false), ("10.0.0.1:1", Some(5), false)]).await;
        let error = lost.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let text = error.to_string();
        assert!(text.contains("[::1]:1 (connection refused)") && text.contains("10.0.0.1:1 (con"), "{text}");

        let open = Arc::new(AtomicUsize::new(0));
        struct Attempt(Arc<AtomicUsize>);
        impl Drop for Attempt {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let won = race(addresses(&["[::1]:1", "10.0.0.1:1"]), |address| {
            open.fetch_add(1, Ordering::SeqCst);
            let attempt = Attempt(open.clone());
            async move {
                let _attempt = attempt;
                if address.is_ipv6() { std::future::pending().await } else { Ok(address) }
            }
        });
        assert!(won.await.unwrap().is_ipv4());
        assert_eq!(open.load(Ordering::SeqCst), 0);
    }
}
