//! Benchmarks: each row measures ours and the thing itself in turns within one run, and reports the
//! medians and their ratio.
//!
//! * [`Row`]: what a row is called and how one round of it goes.
//! * [`measure`]: rounds, interleaved, the first of each thrown away.
//! * [`Report`]: the table and `target/bench.json`.

mod report;

use std::{future::Future, time::Duration};

use anyhow::Result;

pub use report::{Entry, Report};

/// What a row is called.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its id; performance.md lists them.
    pub id: &'static str,
    /// Unit of the figures.
    pub unit: &'static str,
    /// What ours is measured against.
    pub reference_name: &'static str,
    /// What has to be known to read it.
    pub note: &'static str,
}

/// Measures both sides in turns: ours, reference, reference, ours, … so that a machine that grows
/// slower or faster meanwhile favors neither. One round of each goes first and is not counted.
pub async fn measure<A, B, C>(
    row: Row,
    rounds: usize,
    context: &mut C,
    ours: A,
    reference: B,
) -> Result<Entry>
where
    A: AsyncFn(&mut C) -> Result<f64>,
    B: AsyncFn(&mut C) -> Result<f64>,
{
    ours(context).await?;
    reference(context).await?;
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            own.push(ours(context).await?);
            other.push(reference(context).await?);
        } else {
            other.push(reference(context).await?);
            own.push(ours(context).await?);
        }
    }
    Ok(Entry::new(row, median(&mut own), Some(median(&mut other)), rounds))
}

/// Milliseconds that something takes.
pub async fn millis<T>(work: impl Future<Output = Result<T>>) -> Result<f64> {
    let start = tokio::time::Instant::now();
    work.await?;
    Ok(as_millis(start.elapsed()))
}

/// A duration in milliseconds.
pub fn as_millis(length: Duration) -> f64 {
    length.as_secs_f64() * 1e3
}

/// The middle one.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures {
        [] => f64::NAN,
        odd if odd.len() % 2 == 1 => odd.get(middle).copied().unwrap_or(f64::NAN),
        even => {
            let pair = even.get(middle.saturating_sub(1)).zip(even.get(middle));
            pair.map_or(f64::NAN, |(low, high)| f64::midpoint(*low, *high))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Row = Row { id: "a.b", unit: "ms", reference_name: "it", note: "" };

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&mut [4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(median(&mut []).is_nan());
    }

    #[tokio::test]
    async fn both_sides_take_turns_and_the_first_round_does_not_count() {
        let mut calls = Vec::new();
        let entry = measure(
            ROW,
            2,
            &mut calls,
            async |calls: &mut Vec<u8>| {
                calls.push(b'o');
                Ok(if calls.len() == 1 { 100.0 } else { 2.0 })
            },
            async |calls: &mut Vec<u8>| {
                calls.push(b'r');
                Ok(4.0)
            },
        )
        .await
        .unwrap();
        assert_eq!(calls, b"ororro");
        assert!((entry.ratio.unwrap() - 0.5).abs() < 1e-9);
    }
}
