//! The origin of the body cases: it gives bodies of any length and swallows what it is sent.
//!
//! It is part of this program, on the load's core, since nginx would read what it discards in
//! pieces of 4 KB and so hold every peer back. It is as plain as it can be: a thread a connection,
//! blocking reads and writes of large pieces. `GET /N` is answered with N bytes, `GET /` with the
//! body that every other server here answers with, anything that has a body with an empty 200 after
//! its end.

use std::io::{self, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::Context;

use crate::bodies::{self, PIECE_BYTES};
use crate::head::{self, Head};
use crate::load::BODY;
use crate::machine;

/// Starts the origin, which serves for as long as this program runs.
pub(crate) fn start(core: usize) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::Builder::new().name("origin".into()).spawn(move || accept(core, &listener))?;
    Ok(address)
}

fn accept(core: usize, listener: &TcpListener) {
    // Threads inherit the core. What goes wrong on a connection shows at its other end.
    if let Err(error) = machine::pin(core).context("origin") {
        eprintln!("bench: {error:#}");
        return;
    }
    // The servers in front open no more connections than the load has.
    for stream in listener.incoming().flatten() {
        thread::spawn(move || serve(&stream));
    }
}

fn serve(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(PIECE_BYTES, stream);
    let mut writer = stream;
    while let Some(head) = head::read(&mut reader)? {
        head::skip(&mut reader, head.body_bytes)?;
        let body_bytes = match wanted(&head).ok_or(ErrorKind::InvalidData)? {
            Wanted::Greeting => {
                write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len())?;
                continue;
            }
            Wanted::Bytes(bytes) => bytes,
        };
        write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {body_bytes}\r\n\r\n")?;
        bodies::write(&mut writer, body_bytes)?;
    }
    Ok(())
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Greeting,
    Bytes(u64),
}

fn wanted(head: &Head) -> Option<Wanted> {
    let (method, rest) = head.first_line.split_once(' ')?;
    let path = rest.strip_suffix(" HTTP/1.1")?.strip_prefix('/')?;
    Some(match (method, path) {
        ("GET", "") => Wanted::Greeting,
        ("GET", bytes) => Wanted::Bytes(bytes.parse().ok()?),
        _ => Wanted::Bytes(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(first_line: &str, expect: Option<Wanted>) {
        let head = Head { first_line: first_line.to_owned(), body_bytes: 0 };
        assert_eq!(wanted(&head), expect, "{first_line}");
    }

    #[test]
    fn a_path_names_the_length_of_the_body() {
        check("GET / HTTP/1.1", Some(Wanted::Greeting));
        check("GET /1000 HTTP/1.1", Some(Wanted::Bytes(1000)));
        check("PUT / HTTP/1.1", Some(Wanted::Bytes(0)));
        check("GET /many HTTP/1.1", None);
        check("GET /1 HTTP/1.0", None);
    }
}
