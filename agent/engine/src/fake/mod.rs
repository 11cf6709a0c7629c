//! An in-memory Docker for tests: same promises, scripted failures.
//!
//! Containers do nothing but what their [`Behavior`] says. One that [serves](Behavior::serves) really
//! listens, when its address is a loopback one (all of `127.0.0.0/8` is): give the agent a pool such
//! as `127.213.0.0/16` and its health checks and its proxy meet a real socket.
//!
//! One background task per running container; it ends with the container, or with the runtime of
//! the test.

mod engine;
mod run;
mod script;
#[cfg(test)]
mod tests;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slipway_host::clock::Clock;
use tokio::sync::watch;

pub use script::{Behavior, BuildScript, Call, Exit, Gate};
use world::World;

use crate::{
    container::{Container, Health, Status},
    error::{Error, Object, Result},
    event::What,
    image::{Credentials, Image, ImageConfig, ImageId},
    logs::LogLine,
};

/// An in-memory Docker. Cheap to clone; clones are the same one.
#[derive(Clone, Debug)]
pub struct Fake {
    world: Arc<Mutex<World>>,
    changed: watch::Sender<u64>,
    clock: Clock,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new(Clock::system())
    }
}

impl Fake {
    /// An empty one whose times come from `clock`.
    pub fn new(clock: Clock) -> Self {
        let (changed, _) = watch::channel(0);
        Self { world: Arc::default(), changed, clock }
    }

    /// Puts an image on this machine, whose containers behave so, and returns its id.
    pub fn add_image(&self, tag: &str, config: ImageConfig, behavior: Behavior) -> ImageId {
        let image = world::image(tag, config, self.clock.now());
        let id = image.id.clone();
        self.change(|world| {
            world.behaviors.insert(id.clone(), behavior);
            world.images.insert(id.clone(), image);
        });
        id
    }

    /// Puts an image at a registry, to be pulled, for these credentials only when there are some.
    pub fn publish(
        &self,
        reference: &str,
        config: ImageConfig,
        behavior: Behavior,
        credentials: Option<Credentials>,
    ) -> ImageId {
        let image = world::image(reference, config, self.clock.now());
        let id = image.id.clone();
        self.change(|world| {
            world.behaviors.insert(id.clone(), behavior);
            world.registry.insert(world::tagged(reference), (image, credentials));
        });
        id
    }

    /// Says how the next build goes. Without a script a build succeeds, and its image serves.
    pub fn next_build(&self, script: BuildScript) {
        self.change(|world| world.builds.push_back(script));
    }

    /// Says how the containers of an image behave from their next start on.
    pub fn set_behavior(&self, image: &ImageId, behavior: Behavior) {
        self.change(|world| world.behaviors.insert(image.clone(), behavior));
    }

    /// Makes the next `times` calls fail whose name (of an image, container …) contains `part`.
    pub fn fail(
        &self,
        call: Call,
        part: &str,
        times: u32,
        error: impl Fn() -> Error + Send + 'static,
    ) {
        self.change(|world| world.failures.push(script::Failure::new(call, part, times, error)));
    }

    /// Makes calls wait at their beginning until the gate is dropped.
    pub fn hold(&self, call: Call) -> Gate {
        let (gate, latch) = Gate::new();
        self.change(|world| world.latches.push((call, latch)));
        gate
    }

    /// Takes the daemon away: calls fail with `Unreachable` and streams end, containers live on.
    pub fn go_down(&self) {
        self.change(|world| {
            world.down = true;
            world.boots += 1;
        });
    }

    /// Brings the daemon back.
    pub fn come_up(&self) {
        self.change(|world| world.down = false);
    }

    /// Ends a running container from within, as a crash does. Restart policies apply.
    pub fn crash(&self, container: &str, exit: Exit) -> Result<()> {
        self.end(container, exit, run::Ending::Itself).map(drop)
    }

    /// Lets a running container print a line.
    pub fn print(&self, container: &str, stderr: bool, line: &str) -> Result<()> {
        let at = self.clock.now();
        self.edit(container, |it| {
            let bytes = bytes::Bytes::copy_from_slice(line.as_bytes());
            it.lines.push(LogLine { at, stderr, bytes });
        })
    }

    /// Sets what a container's own health check says.
    pub fn set_health(&self, container: &str, health: Health) -> Result<()> {
        let at = self.clock.now();
        self.change(|world| {
            let it = world.container(container)?;
            it.seen.health = Some(health);
            world.report(container, at, What::Health(health));
            Ok(())
        })
    }

    /// Everything that was asked, in order: `create slipway-web-web-1-1`.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// Forgets what was asked.
    pub fn clear_calls(&self) {
        self.lock().calls.clear();
    }

    /// Names of the containers, with their status, ordered.
    pub fn statuses(&self) -> Vec<(String, Status)> {
        let world = self.lock();
        world.containers.iter().map(|(name, it)| (name.clone(), it.seen.status)).collect()
    }

    /// A variable of a container, secrets too.
    pub fn env(&self, container: &str, key: &str) -> Option<String> {
        let mut world = self.lock();
        let it = world.container(container).ok()?;
        it.spec.env.get(key).map(|it| it.expose().clone())
    }

    /// Waits until something is so. Give it a limit with `tokio::time::timeout`.
    pub async fn until(&self, mut so: impl FnMut(&[Container]) -> bool) {
        let mut changes = self.changed.subscribe();
        loop {
            let seen: Vec<_> = self.lock().containers.values().map(|it| it.seen.clone()).collect();
            if so(&seen) {
                return;
            }
            // Fails only when `self`, which holds the sender, is gone.
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let out = act(&mut self.lock());
        self.changed.send_modify(|it| *it += 1);
        out
    }

    fn edit(&self, container: &str, act: impl FnOnce(&mut world::Contained)) -> Result<()> {
        self.change(|world| world.container(container).map(act))
    }

    /// What every call does first: it is noted, held, and failed, as scripted.
    async fn enter(&self, call: Call, name: &str) -> Result<()> {
        let latches = self.change(|world| {
            world.calls.push(if name.is_empty() {
                call.to_string()
            } else {
                format!("{call} {name}")
            });
            world
                .latches
                .iter()
                .filter(|(it, _)| *it == call)
                .map(|(_, latch)| latch.clone())
                .collect::<Vec<_>>()
        });
        for latch in latches {
            latch.pass().await;
        }
        self.change(|world| {
            if world.down {
                let source = std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into();
                return Err(Error::Unreachable { act: "do something", source });
            }
            match world.failures.iter_mut().find_map(|it| it.strike(call, name)) {
                Some(error) => Err(error),
                None => Ok(()),
            }
        })
    }

    fn missing(container: &str) -> Error {
        Error::missing(Object::Container, container)
    }

    /// Describes an image on this machine.
    fn find_image(&self, image: &str) -> Result<Image> {
        self.lock().image(image).cloned()
    }
}
