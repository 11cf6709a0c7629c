//! How to put back what was done.

use futures::future::BoxFuture;
use slipway_host::Chain;
use slipway_proto::problem::Problem;
use tracing::warn;

use super::{Error, Run};

/// How often an act is tried.
const TRIES: u32 = 3;

type Act = Box<dyn Fn() -> BoxFuture<'static, Result<(), Problem>> + Send + Sync>;

/// Acts that put things back, in the order in which they became necessary. Kept in memory: a run
/// that starts again passes the same steps and so collects the same acts.
///
/// An act may be done twice, so it has to succeed when there is nothing left to do.
#[derive(Default)]
pub struct Undo {
    acts: Vec<(String, Act)>,
}

impl std::fmt::Debug for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.acts.iter().map(|(name, _)| name)).finish()
    }
}

impl Undo {
    /// Adds an act, before what it puts back is done.
    pub fn push<F>(&mut self, name: impl Into<String>, act: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), Problem>> + Send + 'static,
    {
        self.acts.push((name.into(), Box::new(move || Box::pin(act()))));
    }

    /// Does the acts, last one first, each as a step of the run, and the others even if one fails.
    /// Returns what could not be put back.
    pub async fn unwind(self, run: &Run) -> Result<Vec<(String, Problem)>, Error> {
        let mut left = Vec::new();
        for (name, act) in self.acts.into_iter().rev() {
            match run.step(&format!("undo {name}"), attempt(&name, &act)).await {
                Ok(()) => (),
                Err(Failed::Act(problem)) => left.push((name, problem)),
                Err(Failed::Run(error)) => return Err(error),
            }
        }
        Ok(left)
    }
}

enum Failed {
    Act(Problem),
    Run(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Run(error)
    }
}

async fn attempt(name: &str, act: &Act) -> Result<(), Failed> {
    let mut tries = 0;
    loop {
        match act().await {
            Ok(()) => return Ok(()),
            Err(problem) => {
                tries += 1;
                warn!(act = name, tries, error = %Chain(&problem), "could not put something back");
                if tries == TRIES {
                    return Err(Failed::Act(problem));
                }
                tokio::time::sleep(std::time::Duration::from_millis(200) * tries).await;
            }
        }
    }
}
