//! What surrounds every request, REST and gRPC: its id, its span, its figures, its log line.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::metrics::Metrics;

/// Header that carries the id of a request, in and out.
pub const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// A longer id is somebody's mistake and is replaced.
const REQUEST_ID_LENGTH_MAX: usize = 128;
/// Route label of requests that no route matched, so that paths never become labels.
const UNMATCHED: &str = "unmatched";

/// Middleware: adopts or makes the request id, opens the span, counts and logs the answer.
pub(crate) async fn observe(
    State(metrics): State<Metrics>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = request_id(request.headers());
    request.headers_mut().insert(REQUEST_ID_HEADER, id.clone());
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let span =
        tracing::info_span!("request", request_id = id.to_str().unwrap_or_default(), method, route);
    let begun = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let took = begun.elapsed();
    metrics.observe(method, route, response.status().as_u16(), took);
    span.in_scope(|| {
        let duration_ms = took.as_secs_f64() * 1000.0;
        tracing::info!(status = response.status().as_u16(), duration_ms, "request answered");
    });
    response.headers_mut().insert(REQUEST_ID_HEADER, id);
    response
}

fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        !id.is_empty()
            && id.len() <= REQUEST_ID_LENGTH_MAX
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(REQUEST_ID_HEADER).filter(usable).cloned().unwrap_or_else(|| {
        HeaderValue::from_str(&format!("{:032x}", rand::random::<u128>()))
            .expect("hex digits are a valid header value")
    })
}

/// Methods are chosen by the client, label values are not.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(value: &str) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID_HEADER, HeaderValue::from_str(value).unwrap());
        request_id(&headers)
    }

    #[test]
    fn a_sane_request_id_is_kept_and_any_other_is_replaced() {
        assert_eq!(id_of("abc-1"), "abc-1");
        for bad in ["", "two words", &"x".repeat(129)] {
            let id = id_of(bad);
            assert_ne!(id, bad);
            assert_eq!(id.len(), 32);
        }
    }
}
