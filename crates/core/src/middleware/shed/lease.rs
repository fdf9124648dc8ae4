//! Room that is given back by itself.
//!
//! A body that is made while it is sent is work and takes up room; but it may also wait for a reader who never reads,
//! and then nobody polls it. So its room is leased: what is not given back within one to two terms counts no more.
//! Leases are counted by the term in which they began; a term that is over is written off as a whole, without a timer
//! and without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

/// Terms whose leases can be told apart: the present one, the one before, and two that are over.
const SLOTS: u64 = 4;

/// Each slot: the number of its term in the upper half, how many leases in the lower.
#[derive(Debug, Default)]
pub(super) struct Leases {
    slots: [AtomicU64; SLOTS as usize],
}

impl Leases {
    /// Begins a lease in this term. Returns how many leases of an old term it wrote off.
    pub(super) fn begin(&self, term: u32) -> u32 {
        let slot = self.slot(term);
        let begun = |packed| {
            let (old, count) = unpack(packed);
            Some(if old == term { pack(term, count.saturating_add(1)) } else { pack(term, 1) })
        };
        match slot.fetch_update(Ordering::AcqRel, Ordering::Acquire, begun) {
            Ok(before) if unpack(before).0 != term => unpack(before).1,
            _ => 0,
        }
    }

    /// Ends a lease that began in this term. False if it was written off before.
    pub(super) fn end(&self, term: u32) -> bool {
        let ended = |packed| {
            let (current, count) = unpack(packed);
            (current == term && count > 0).then(|| pack(term, count - 1))
        };
        self.slot(term).fetch_update(Ordering::AcqRel, Ordering::Acquire, ended).is_ok()
    }

    /// Writes off what began more than a whole term before `now`. Returns how many.
    pub(super) fn expire(&self, now: u32) -> u32 {
        let mut expired = 0;
        for slot in &self.slots {
            let over = |packed| {
                let (term, count) = unpack(packed);
                (count > 0 && now.wrapping_sub(term) >= 2).then(|| pack(term, 0))
            };
            if let Ok(before) = slot.fetch_update(Ordering::AcqRel, Ordering::Acquire, over) {
                expired += unpack(before).1;
            }
        }
        expired
    }

    fn slot(&self, term: u32) -> &AtomicU64 {
        let [zero, one, two, three] = &self.slots;
        match u64::from(term) % SLOTS {
            0 => zero,
            1 => one,
            2 => two,
            _ => three,
        }
    }
}

fn pack(term: u32, count: u32) -> u64 {
    u64::from(term) << 32 | u64::from(count)
}

#[allow(clippy::cast_possible_truncation, reason = "the two halves")]
fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_ended_once_or_written_off_once() {
        let leases = Leases::default();
        assert_eq!(leases.begin(7), 0);
        assert_eq!(leases.begin(7), 0);
        assert!(leases.end(7));
        assert_eq!(leases.expire(8), 0, "one term is not over after one tick");
        assert_eq!(leases.expire(9), 1);
        assert!(!leases.end(7), "it was written off");
        assert_eq!(leases.expire(9), 0);
    }

    #[test]
    fn a_slot_that_is_used_again_writes_off_what_was_in_it() {
        let leases = Leases::default();
        leases.begin(1);
        leases.begin(1);
        assert_eq!(leases.begin(5), 2);
        assert!(!leases.end(1));
        assert!(leases.end(5));
    }
}
