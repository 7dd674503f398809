//! A request's body: read as it comes, decompressed, within limits of size, memory and time.
//!
//! Contract: [`read`] gives the whole body as one buffer with its share of the room, or a [`Refusal`] as early as it is
//! certain: a declared length over the limit is refused unread. gzip and zstd are decompressed piece by piece, and stop at
//! the limit, so a bomb costs no more than an honest body.
//!
//! # Cost
//! What has arrived, at most doubled (buffers grow by doubling, within their share), and a decompressor of at most 8 MiB
//! while it runs.

use super::refusal::Refusal;
use super::room::{Room, Share};
use crate::decode::compression::Encoding;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use bytes::Bytes;
use http_body_util::BodyExt;
use std::io::Read;
use std::time::Duration;
use weir_schemas::limits::Limits;

/// The first size of a buffer.
const BUFFER_MIN: usize = 4 << 10;

/// A body in memory.
#[derive(Debug)]
pub(super) struct Received {
    /// Its bytes, decompressed.
    pub(super) bytes: Bytes,
    /// Bytes as sent.
    pub(super) wire_bytes: usize,
    /// Its share of the room: held for as long as the bytes are.
    _share: Share,
}

/// Reads the body of a request.
pub(super) async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limits: &Limits,
    room: &Room,
    at_most: Duration,
) -> Result<Received, Refusal> {
    let encoding = encoding(headers)?;
    check_length(headers, limits)?;
    let wire = gather(&mut body, limits, room, at_most).await?;
    let wire_bytes = wire.bytes.len();
    let buffer = match encoding {
        None => wire,
        Some(encoding) => match small(&wire.bytes, encoding, limits, room)? {
            Some(buffer) => buffer,
            None => {
                let (limits, room) = (limits.clone(), room.clone());
                super::off_the_runtime(move || decompress(&wire.bytes, encoding, &limits, &room)).await?
            }
        },
    };
    Ok(Received { bytes: Bytes::from(buffer.bytes), wire_bytes, _share: buffer.share })
}

fn encoding(headers: &HeaderMap) -> Result<Option<Encoding>, Refusal> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
    Encoding::named(value.to_str().unwrap_or("(not text)")).map_err(Refusal::Encoding)
}

fn check_length(headers: &HeaderMap, limits: &Limits) -> Result<(), Refusal> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match declared {
        Some(bytes) if bytes > limits.record as u64 => Err(wire_too_large(limits)),
        _ => Ok(()),
    }
}

fn wire_too_large(limits: &Limits) -> Refusal {
    Refusal::TooLarge { limit: limits.record, what: "as sent" }
}

async fn gather(body: &mut Body, limits: &Limits, room: &Room, at_most: Duration) -> Result<Buffer, Refusal> {
    let mut buffer = Buffer::new(room, limits.record);
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::BrokenOff(crate::error::chain(&error)))?;
            if let Some(data) = frame.data_ref() {
                let fits = buffer.push(data)?;
                if !fits {
                    return Err(wire_too_large(limits));
                }
            }
        }
        Ok(())
    };
    match tokio::time::timeout(at_most, reading).await {
        Ok(result) => result.map(|()| buffer),
        Err(_elapsed) => Err(Refusal::Slow { seconds: at_most.as_secs() }),
    }
}

/// A body that is small before and after decompression: not worth another thread. Nothing for any other: what a few bytes
/// become may be a thousand times as many.
fn small(wire: &[u8], encoding: Encoding, limits: &Limits, room: &Room) -> Result<Option<Buffer>, Refusal> {
    if wire.len() > super::INLINE_BYTES || limits.decompressed <= super::INLINE_BYTES {
        return Ok(None);
    }
    let limits = Limits { decompressed: super::INLINE_BYTES, ..limits.clone() };
    match decompress(wire, encoding, &limits, room) {
        Ok(buffer) => Ok(Some(buffer)),
        Err(Refusal::TooLarge { .. }) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

fn decompress(wire: &[u8], encoding: Encoding, limits: &Limits, room: &Room) -> Result<Buffer, Refusal> {
    let name = encoding.as_str();
    let broken = |error: std::io::Error| Refusal::Compression { encoding: name, reason: error.to_string() };
    expand(encoding.reader(wire).map_err(broken)?, name, limits, room)
}

fn expand(
    mut decoder: Box<dyn Read + '_>,
    encoding: &'static str,
    limits: &Limits,
    room: &Room,
) -> Result<Buffer, Refusal> {
    let mut buffer = Buffer::new(room, limits.decompressed);
    let mut piece = vec![0; 64 << 10];
    loop {
        let read =
            decoder.read(&mut piece).map_err(|error| Refusal::Compression { encoding, reason: error.to_string() })?;
        if read == 0 {
            return Ok(buffer);
        }
        if !buffer.push(&piece[..read])? {
            return Err(Refusal::TooLarge { limit: limits.decompressed, what: "after decompression" });
        }
    }
}

/// Bytes that grow within a limit and a share of the room.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    share: Share,
    limit: usize,
}

impl Buffer {
    fn new(room: &Room, limit: usize) -> Buffer {
        Buffer { bytes: Vec::new(), share: room.share(), limit }
    }

    /// Adds a piece; false when it would pass the limit.
    fn push(&mut self, piece: &[u8]) -> Result<bool, Refusal> {
        let len = self.bytes.len() + piece.len();
        if len > self.limit {
            return Ok(false);
        }
        if len > self.bytes.capacity() {
            let capacity = len.max(2 * self.bytes.capacity()).max(BUFFER_MIN).min(self.limit.max(len));
            self.share.grow_to(capacity)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::io::Write;

    fn limits(record: usize, decompressed: usize) -> Limits {
        Limits { record, decompressed, ..Limits::default() }
    }

    fn headers(encoding: &'static str) -> HeaderMap {
        [(CONTENT_ENCODING, encoding.parse().expect("a header value"))].into_iter().collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).expect("compresses");
        encoder.finish().expect("compresses")
    }

    async fn read_all(headers: HeaderMap, body: Body, limits: &Limits, room: &Room) -> Result<Received, Refusal> {
        read(&headers, body, limits, room, Duration::from_secs(10)).await
    }

    #[tokio::test]
    async fn every_encoding_gives_the_same_bytes() {
        let text: Vec<u8> = (0..200_000u32).flat_map(|n| (n % 977).to_le_bytes()).collect();
        let room = Room::new(64 << 20);
        let zstd = zstd::encode_all(text.as_slice(), 3).expect("compresses");
        let mut two_members = gzip(&text[..1_000]);
        two_members.extend(gzip(&text[1_000..]));
        let cases = [("identity", text.clone()), ("gzip", gzip(&text)), ("X-GZIP", two_members), ("zstd", zstd)];
        for (encoding, wire) in cases {
            let wire_bytes = wire.len();
            let body = Body::from_stream(futures_util::stream::iter(
                wire.chunks(1_000)
                    .map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk)))
                    .collect::<Vec<_>>(),
            ));
            let received = read_all(headers(encoding), body, &limits(1 << 20, 1 << 20), &room).await.expect("is sound");
            assert_eq!((received.bytes.as_ref(), received.wire_bytes), (text.as_slice(), wire_bytes), "{encoding}");
            assert!(room.free() <= (64 << 20) - text.len(), "{encoding}: the bytes are accounted for");
        }
        assert_eq!(room.free(), 64 << 20, "and given back");
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit_and_gives_its_room_back() {
        let room = Room::new(64 << 20);
        let zeros = vec![0; 32 << 20];
        for (encoding, wire) in
            [("gzip", gzip(&zeros)), ("zstd", zstd::encode_all(zeros.as_slice(), 3).expect("compresses"))]
        {
            let result = read_all(headers(encoding), Body::from(wire), &limits(1 << 20, 2 << 20), &room).await;
            assert!(matches!(result, Err(Refusal::TooLarge { limit, .. }) if limit == 2 << 20), "{encoding}");
            assert_eq!(room.free(), 64 << 20);
        }
    }

    #[tokio::test]
    async fn sizes_are_checked_before_and_while_reading() {
        let room = Room::new(1 << 20);
        let declared = [(CONTENT_LENGTH, "101".parse().expect("a header value"))].into_iter().collect();
        let result = read_all(declared, Body::empty(), &limits(100, 100), &room).await;
        assert!(matches!(result, Err(Refusal::TooLarge { limit: 100, .. })), "{result:?}");
        let result = read_all(HeaderMap::new(), Body::from(vec![1; 101]), &limits(100, 100), &room).await;
        assert!(matches!(result, Err(Refusal::TooLarge { limit: 100, .. })), "{result:?}");
        let result = read_all(HeaderMap::new(), Body::from(vec![1; 100]), &limits(100, 100), &room).await;
        assert_eq!(result.expect("fits").bytes.len(), 100);
    }

    #[tokio::test]
    async fn what_is_no_sound_body_says_why() {
        let room = Room::new(1 << 20);
        let limits = limits(1 << 20, 1 << 20);
        let cut = gzip(b"some text that is long enough")[..20].to_vec();
        for (encoding, wire) in [("gzip", cut), ("gzip", b"plain".to_vec()), ("zstd", b"plain".to_vec())] {
            let result = read_all(headers(encoding), Body::from(wire), &limits, &room).await;
            assert!(matches!(result, Err(Refusal::Compression { .. })), "{encoding}: {result:?}");
        }
        let result = read_all(headers("br"), Body::from("x"), &limits, &room).await;
        assert!(matches!(result, Err(Refusal::Encoding(ref name)) if name == "br"), "{result:?}");
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_given_up() {
        let room = Room::new(1 << 20);
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let result = read(&HeaderMap::new(), never, &limits(100, 100), &room, Duration::from_millis(20)).await;
        assert!(matches!(result, Err(Refusal::Slow { .. })), "{result:?}");
    }

    #[tokio::test]
    async fn a_full_room_refuses_at_once() {
        let room = Room::new(64 << 10);
        let first = read_all(HeaderMap::new(), Body::from(vec![1; 60 << 10]), &limits(1 << 20, 1 << 20), &room).await;
        let first = first.expect("there is room");
        let second = read_all(HeaderMap::new(), Body::from(vec![1; 8 << 10]), &limits(1 << 20, 1 << 20), &room).await;
        assert!(matches!(second, Err(Refusal::NoRoom)), "{second:?}");
        drop(first);
        let third = read_all(HeaderMap::new(), Body::from(vec![1; 8 << 10]), &limits(1 << 20, 1 << 20), &room).await;
        assert!(third.is_ok());
    }

    #[tokio::test]
    async fn what_a_few_bytes_become_is_made_off_the_runtime() {
        let room = Room::new(64 << 20);
        let limits = limits(1 << 20, 8 << 20);
        let wire = |bytes: usize| zstd::encode_all(vec![0; bytes].as_slice(), 3).expect("compresses");
        // Nobody else gets a thread: what needs one waits.
        let turns = super::super::LARGE_BODIES.acquire_many(2).await.expect("is never closed");
        let mut large = Box::pin(read_all(headers("zstd"), Body::from(wire(4 << 20)), &limits, &room));
        assert!((&mut large).now_or_never().is_none());
        assert_eq!(room.free(), (64 << 20) - (4 << 10), "only what was sent is held meanwhile");
        let mut small = Box::pin(read_all(headers("zstd"), Body::from(wire(1 << 10)), &limits, &room));
        assert!((&mut small).now_or_never().is_some());
        drop(turns);
        assert_eq!(large.await.expect("is sound").bytes.len(), 4 << 20);
    }
}
