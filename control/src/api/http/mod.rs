//! HTTP: alive, ready, and figures for Prometheus. The REST API comes later.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use slipway_host::Chain;
use slipway_store::Store;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// What the handlers need.
#[derive(Clone, Debug)]
pub struct Health {
    store: Store,
    stop: CancellationToken,
    figures: PrometheusHandle,
}

impl Health {
    /// Tells of `store`; not ready any more from `stop` on.
    pub fn new(store: Store, stop: CancellationToken, figures: PrometheusHandle) -> Self {
        Self { store, stop, figures }
    }
}

/// Makes the routes.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(figures))
        .with_state(health)
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn ready(State(health): State<Health>) -> Response {
    if health.stop.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    if let Err(error) = health.store.ready().await {
        warn!(error = %Chain(&error), "not ready");
        return (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response();
    }
    "ready\n".into_response()
}

async fn figures(State(health): State<Health>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, health.figures.render()).into_response()
}
