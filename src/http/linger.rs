//! Refusals that are said before the request's body was read.
//!
//! Contract: [`call`] hands a request to a service. Where the answer is a refusal and the body was not read to its end,
//! the rest is read off before the answer goes: closing on unread bytes resets the connection, and the answer, with its
//! `Retry-After`, is lost with it. A client that waits for leave to send (`Expect: 100-continue`) is answered at once.
//!
//! # Cost
//! At most [`LINGER`] and [`BYTES_MAX`] a request; nothing is kept.

use axum::body::HttpBody;
use axum::http::header::EXPECT;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tower_service::Service;

/// How long a body is read off.
const LINGER: Duration = Duration::from_secs(2);
/// How much of it.
const BYTES_MAX: usize = 64 << 20;

/// A body that comes back when it is dropped before its end.
pub(super) struct Lent<B: HttpBody + Unpin> {
    body: Option<B>,
    begun: bool,
    back: Option<oneshot::Sender<(B, bool)>>,
}

/// Answers a request.
pub(super) async fn call<S, B, R>(mut service: S, request: Request<B>) -> Result<Response<R>, S::Error>
where
    S: Service<Request<Lent<B>>, Response = Response<R>>,
    B: HttpBody<Data = Bytes> + Unpin,
{
    let awaits_leave = request.headers().contains_key(EXPECT);
    let (back, mut returned) = oneshot::channel();
    let request = request.map(|body| Lent { body: Some(body), begun: false, back: Some(back) });
    let answer = service.call(request).await?;
    let status = answer.status();
    // Who was too slow has nothing more to send.
    let refused = (status.is_client_error() || status.is_server_error()) && status != StatusCode::REQUEST_TIMEOUT;
    if let (true, Ok((body, begun))) = (refused, returned.try_recv())
        && (begun || !awaits_leave)
    {
        read_off(body).await;
    }
    Ok(answer)
}

async fn read_off<B: HttpBody<Data = Bytes> + Unpin>(mut body: B) {
    let reading = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > BYTES_MAX {
                break;
            }
        }
    };
    // Whether it came to the end or ran out of time: the answer follows.
    let _done = tokio::time::timeout(LINGER, reading).await;
}

impl<B: HttpBody + Unpin> HttpBody for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.begun = true;
        self.body.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl<B: HttpBody + Unpin> Drop for Lent<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take())
            && !body.is_end_stream()
        {
            // Nobody waits for it any more: the connection has ended.
            let _unclaimed = back.send((body, self.begun));
        }
    }
}
