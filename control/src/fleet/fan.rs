//! The same thing on many servers, every outcome kept.

use std::{future::Future, sync::Arc};

use tokio::{sync::Semaphore, task::JoinSet};
use tracing::Instrument as _;

/// Runs `one` on every server, at most `width` at a time, and returns every outcome in the order of
/// `servers`; one that panicked has none. Dropping the future stops them all.
pub async fn fan_out<S, T, F>(servers: Vec<S>, width: usize, one: impl Fn(S) -> F) -> Vec<Option<T>>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let permits = Arc::new(Semaphore::new(width));
    let mut outcomes: Vec<_> = servers.iter().map(|_| None).collect();
    let mut set = JoinSet::new();
    for (index, server) in servers.into_iter().enumerate() {
        let (permits, work) = (Arc::clone(&permits), one(server));
        let task = async move {
            // Never closed, so always granted.
            let _permit = permits.acquire_owned().await.ok();
            (index, work.await)
        };
        set.spawn(task.in_current_span());
    }
    while let Some(joined) = set.join_next().await {
        // A panicked server keeps its `None`; the others are worth having.
        if let Ok((index, outcome)) = joined
            && let Some(slot) = outcomes.get_mut(index)
        {
            *slot = Some(outcome);
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn outcomes_keep_the_order_and_a_panic_is_one_gap() {
        let outcomes = fan_out(vec![3_u64, 1, 2], 8, |it| async move {
            tokio::time::sleep(Duration::from_millis(it)).await;
            assert!(it != 1, "this one breaks");
            it * 10
        })
        .await;
        assert_eq!(outcomes, [Some(30), None, Some(20)]);
    }

    #[tokio::test]
    async fn no_more_than_the_width_run_at_once() {
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (inner, peak) = (Arc::clone(&running), Arc::clone(&most));
        let work = move |_| {
            let (running, most) = (Arc::clone(&inner), Arc::clone(&peak));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                running.fetch_sub(1, Ordering::SeqCst);
            }
        };
        fan_out((0..20).collect(), 4, work).await;
        assert_eq!(most.load(Ordering::SeqCst), 4);
    }
}
