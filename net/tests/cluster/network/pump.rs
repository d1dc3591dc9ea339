//! Carries the bytes of one connection by the rules of its two directions.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::tape::Tape;
use super::{Rule, Rules, Way};

/// Chunks that are on their way in one direction; more wait in the sender.
const CHUNKS: usize = 64;
const CHUNK_BYTES: usize = 16 << 10;

/// Runs until both directions have ended, or one has broken.
pub async fn both_ways(
    near: TcpStream,
    far: TcpStream,
    way: Way,
    rules: &watch::Receiver<Rules>,
    tape: Option<Tape>,
) {
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let there = one_way(near_read, far_write, way, rules.clone(), tape);
    let back = one_way(far_read, near_write, way.back(), rules.clone(), None);
    let _ = tokio::try_join!(there, back);
}

/// Bytes and when they may leave; no bytes stand for the end.
type Chunk = (Instant, Vec<u8>);

async fn one_way(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    way: Way,
    rules: watch::Receiver<Rules>,
    tape: Option<Tape>,
) -> std::io::Result<()> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let reading = read(from, sender, way, rules.clone(), tape);
    let writing = write(to, receiver, way, rules);
    tokio::try_join!(reading, writing).map(|_| ())
}

async fn read(
    mut from: OwnedReadHalf,
    sender: mpsc::Sender<Chunk>,
    way: Way,
    rules: watch::Receiver<Rules>,
    tape: Option<Tape>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if let Some(tape) = &tape {
            tape.push(&buffer[..length]);
        }
        let delay = match rules.borrow().get(way) {
            Rule::Slow(delay) => delay,
            _ => std::time::Duration::ZERO,
        };
        let chunk = (Instant::now() + delay, buffer[..length].to_vec());
        if sender.send(chunk).await.is_err() || length == 0 {
            return Ok(());
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut receiver: mpsc::Receiver<Chunk>,
    way: Way,
    mut rules: watch::Receiver<Rules>,
) -> std::io::Result<()> {
    while let Some((when, bytes)) = receiver.recv().await {
        sleep_until(when).await;
        let open = |rules: &Rules| rules.get(way) != Rule::Held;
        if rules.wait_for(open).await.is_err() {
            break;
        }
        if bytes.is_empty() {
            break;
        }
        to.write_all(&bytes).await?;
    }
    to.shutdown().await
}
