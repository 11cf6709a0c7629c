//! Figures for Prometheus: deployments by outcome and duration, calls, agents online, memory.

use std::{
    sync::OnceLock,
    task::{Context, Poll},
    time::Duration,
};

use metrics::{counter, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use slipway_proto::policy;
use tower::Service;

use crate::{enroll::Sessions, tasks::Task};

/// Buckets of a deployment's duration, in seconds.
const DEPLOYMENT: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 45.0, 90.0, 180.0, 600.0, 1800.0];

/// The recorder of this process. The macros of `metrics` reach it from anywhere, so there is one,
/// however many control planes a test runs.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Sets the recorder up, or returns the one there is.
pub(super) fn recorder() -> Result<PrometheusHandle, BuildError> {
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let duration = Matcher::Full("slipway_deployment_duration_seconds".to_owned());
    let recorder =
        PrometheusBuilder::new().set_buckets_for_metric(duration, DEPLOYMENT)?.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_ok() {
        return Ok(RECORDER.get_or_init(|| handle).clone());
    }
    Ok(RECORDER.get().cloned().unwrap_or(handle))
}

/// Counts the calls of our methods on their way to a service.
#[derive(Clone, Debug)]
pub(super) struct Counted<S>(pub(super) S);

impl<S, B> Service<http::Request<B>> for Counted<S>
where
    S: Service<http::Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> S::Future {
        // Only our own names, so that strangers cannot make up labels.
        let method = policy::of(request.uri().path()).map_or("unknown", |it| it.method);
        counter!("slipway_rpc_total", "method" => method).increment(1);
        self.0.call(request)
    }
}

/// Keeps the figures that nobody reports by itself.
#[derive(Debug)]
pub(super) struct Gauges {
    pub(super) sessions: Sessions,
    pub(super) handle: PrometheusHandle,
}

impl Task for Gauges {
    const NAME: &'static str = "figures";
    const EVERY: Duration = Duration::from_secs(5);

    async fn pass(&mut self) -> Result<(), impl std::fmt::Display> {
        self.handle.run_upkeep();
        let online = u32::try_from(self.sessions.online().len()).unwrap_or(u32::MAX);
        gauge!("slipway_agents_online").set(f64::from(online));
        let kib = slipway_host::stats::load().own_rss.unwrap_or_default() / 1024;
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        gauge!("process_resident_memory_bytes").set(f64::from(kib) * 1024.0);
        Ok::<_, std::convert::Infallible>(())
    }
}
