//! Counts what may not happen too often, by address.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use slipway_host::clock::Clock;

/// Keys remembered at a time; beyond it the oldest windows are forgotten first.
const MAX_KEYS: usize = 8192;

/// At most `max` events of one key in each window of time.
#[derive(Debug)]
pub struct Rate<K> {
    max: u32,
    window: Duration,
    clock: Clock,
    seen: Mutex<HashMap<K, Window>>,
}

#[derive(Debug)]
struct Window {
    start: SystemTime,
    count: u32,
}

impl<K: Clone + Eq + Hash> Rate<K> {
    /// Allows `max` events of a key within each `window`.
    pub fn new(max: u32, window: Duration, clock: Clock) -> Self {
        Self { max, window, clock, seen: Mutex::new(HashMap::new()) }
    }

    /// Whether the key has used up its window. Counts nothing.
    pub fn is_spent(&self, key: &K) -> bool {
        let mut seen = self.lock();
        match seen.get(key) {
            Some(it) if self.is_open(it) => it.count >= self.max,
            Some(_) => {
                seen.remove(key);
                false
            }
            None => false,
        }
    }

    /// Counts an event; false when it is one too many.
    pub fn count(&self, key: &K) -> bool {
        let mut seen = self.lock();
        if seen.len() >= MAX_KEYS && !seen.contains_key(key) {
            self.forget(&mut seen);
        }
        let new = Window { start: self.clock.now(), count: 0 };
        let window = seen.entry(key.clone()).or_insert(Window { ..new });
        if !self.is_open(window) {
            *window = new;
        }
        window.count = window.count.saturating_add(1);
        window.count <= self.max
    }

    /// A clock that was set back ends the window, too: nobody stays locked out by it.
    fn is_open(&self, window: &Window) -> bool {
        self.clock.now().duration_since(window.start).is_ok_and(|it| it < self.window)
    }

    fn forget(&self, seen: &mut HashMap<K, Window>) {
        seen.retain(|_, it| self.is_open(it));
        while seen.len() >= MAX_KEYS {
            let oldest = seen.iter().min_by_key(|(_, it)| it.start).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            seen.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Window>> {
        // The map is whole between any two statements, so a panic elsewhere does not spoil it.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))
    }

    #[test]
    fn a_key_waits_for_the_next_window_and_others_do_not() {
        let clock = clock();
        let rate = Rate::new(2, Duration::from_mins(1), clock.clone());
        assert!(rate.count(&1) && rate.count(&1));
        assert!(rate.is_spent(&1));
        assert!(!rate.count(&1));
        assert!(rate.count(&2));
        clock.advance(Duration::from_mins(1));
        assert!(!rate.is_spent(&1));
        assert!(rate.count(&1));
    }

    #[test]
    fn many_keys_do_not_grow_the_memory() {
        let clock = clock();
        let rate = Rate::new(1, Duration::from_mins(1), clock.clone());
        for key in 0..MAX_KEYS + 100 {
            clock.advance(Duration::from_micros(1));
            rate.count(&key);
        }
        assert_eq!(rate.lock().len(), MAX_KEYS);
        assert!(!rate.is_spent(&0), "the oldest is forgotten");
        assert!(rate.is_spent(&(MAX_KEYS + 99)));
    }
}
