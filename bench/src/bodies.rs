//! Load of large bodies: blocking connections on the load's core that take them or send them.
//!
//! wrk reads 8 KB at a time, so with it the load's core would be full long before the server's, and
//! it sends one body only from memory of its own. Here a connection ends with the body that it is
//! at when time is up: all bytes that are counted have gone all the way, and all that went are
//! counted.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::head;
use crate::machine;

/// Bytes of one read or write of load and origin: what a socket takes at once, and in the cache.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// Silence after which a transfer has failed.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which way a body goes, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Download,
    Upload,
}

/// A load of bodies of one length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfers {
    pub(crate) direction: Direction,
    pub(crate) body_bytes: u64,
    pub(crate) connections: u32,
}

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
}

impl Transfers {
    /// Moves bodies for so long, and at least one a connection. Anything but whole bodies and 200s
    /// fails the run.
    pub(crate) fn run(
        self,
        core: usize,
        address: SocketAddr,
        duration: Duration,
    ) -> anyhow::Result<Moved> {
        let started = Instant::now();
        let until = started + duration;
        let bytes = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.connections)
                .map(|_| scope.spawn(move || self.connection(core, address, until)))
                .collect();
            threads.into_iter().try_fold(0, |bytes, thread| {
                Ok::<u64, anyhow::Error>(bytes + thread.join().expect("a thread panics never")?)
            })
        })?;
        Ok(Moved { bytes, duration: started.elapsed() })
    }

    /// One connection's transfers, and their bytes.
    fn connection(self, core: usize, address: SocketAddr, until: Instant) -> anyhow::Result<u64> {
        machine::pin(core)?;
        let stream = TcpStream::connect(address).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let mut reader = BufReader::with_capacity(PIECE_BYTES, &stream);
        let mut bytes = 0;
        loop {
            self.transfer(address, &mut reader, &mut &stream).with_context(|| {
                format!("{:?} of {} bytes, after {bytes}", self.direction, self.body_bytes)
            })?;
            bytes += self.body_bytes;
            if Instant::now() >= until {
                return Ok(bytes);
            }
        }
    }

    fn transfer(
        self,
        address: SocketAddr,
        reader: &mut BufReader<impl Read>,
        writer: &mut impl Write,
    ) -> anyhow::Result<()> {
        let bytes = self.body_bytes;
        let expected = match self.direction {
            Direction::Download => {
                writer.write_all(
                    format!("GET /{bytes} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes(),
                )?;
                bytes
            }
            Direction::Upload => {
                let head =
                    format!("PUT / HTTP/1.1\r\nHost: {address}\r\nContent-Length: {bytes}\r\n\r\n");
                writer.write_all(head.as_bytes())?;
                write(writer, bytes)?;
                0
            }
        };
        let head = head::read(reader)?.context("closed in the place of an answer")?;
        ensure!(head.first_line == "HTTP/1.1 200 OK", "answered {:?}", head.first_line);
        ensure!(head.body_bytes == expected, "answered with {} bytes", head.body_bytes);
        head::skip(reader, expected)?;
        Ok(())
    }
}

/// Writes a body of so many bytes: all alike, since nobody on the way looks at them.
pub(crate) fn write(writer: &mut impl Write, bytes: u64) -> io::Result<()> {
    static PIECE: [u8; PIECE_BYTES] = [b'x'; PIECE_BYTES];
    let mut left = bytes;
    while left > 0 {
        let piece = &PIECE[..left.min(PIECE_BYTES as u64) as usize];
        let count = writer.write(piece)?;
        if count == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        left -= count as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(direction: Direction, answer: &str, is_good: bool) -> Vec<u8> {
        let transfers = Transfers { direction, body_bytes: 3, connections: 1 };
        let mut sent = Vec::new();
        let address = ([127, 0, 0, 1], 80).into();
        let outcome =
            transfers.transfer(address, &mut BufReader::new(answer.as_bytes()), &mut sent);
        assert_eq!(outcome.is_ok(), is_good, "{answer:?}: {outcome:?}");
        sent
    }

    #[test]
    fn a_download_is_asked_for_by_its_length_and_must_have_it() {
        let download = Direction::Download;
        let sent = check(download, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", true);
        assert!(sent.starts_with(b"GET /3 HTTP/1.1\r\n"));
        check(download, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab", false);
        check(download, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", false);
        check(download, "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\nabc", false);
        check(download, "", false);
    }

    #[test]
    fn an_upload_carries_its_body_and_wants_an_empty_200() {
        let sent = check(Direction::Upload, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true);
        assert!(sent.ends_with(b"Content-Length: 3\r\n\r\nxxx"));
        check(Direction::Upload, "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n", false);
    }
}
