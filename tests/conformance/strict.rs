//! A checker of the requests that Kiln sends: it takes the one spelling that leaves nothing open, and
//! nothing else. Written for this purpose alone and sharing no code with Kiln, so that a mistake in
//! Kiln's parser is not repeated here.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

/// What an origin saw that checks every byte.
#[derive(Default)]
pub(crate) struct Seen {
    /// `METHOD TARGET` of each request whose head came.
    pub(crate) requests: Mutex<Vec<String>>,
    /// What was wrong, with the bytes that were.
    pub(crate) faults: Mutex<Vec<String>>,
}

/// Serves one connection, checking what comes on it.
pub(crate) fn serve(stream: TcpStream, seen: &Arc<Seen>) {
    let mut recorder =
        Recorder { stream: stream.try_clone().expect("a socket"), bytes: Vec::new() };
    let mut input = BufReader::with_capacity(1, &mut recorder);
    let mut output = stream;
    let outcome = loop {
        match request(&mut input) {
            Ok(Some(request)) => {
                seen.requests.lock().expect("no holder panics").push(request.line.clone());
                if let Err(error) = body(&mut input, &request.framing) {
                    break Err(error);
                }
                let content = if request.line.starts_with("HEAD ") { "" } else { "ok" };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nX-Seen: {}\r\nContent-Length: 2\r\n\r\n{content}",
                    request.line
                );
                if output.write_all(answer.as_bytes()).is_err() {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    match outcome {
        // Breaking off is Kiln's way to say that what a client sent is no whole request.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let bytes = String::from_utf8_lossy(&recorder.bytes).into_owned();
            seen.faults.lock().expect("no holder panics").push(format!("{error} in {bytes:?}"));
        }
        _ => {}
    }
}

struct Recorder {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Read for Recorder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.bytes.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

enum Framing {
    None,
    Length(u64),
    Chunked,
}

struct Request {
    line: String,
    framing: Framing,
}

fn fault(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// A line without its CR LF. Between two requests there may be none.
fn line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if !line.ends_with(b"\n") {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.pop();
    if line.pop() != Some(b'\r') || line.contains(&b'\r') {
        return Err(fault("a line that does not end with CR LF"));
    }
    Ok(Some(line))
}

fn token(bytes: &[u8]) -> bool {
    let special = b"!#$%&'*+-.^_`|~";
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || special.contains(b))
}

fn request(input: &mut impl BufRead) -> io::Result<Option<Request>> {
    let Some(first) = line(input)? else { return Ok(None) };
    let text = String::from_utf8(first).map_err(|_| fault("a request line that is no ASCII"))?;
    let words: Vec<&str> = text.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err(fault("the request line")) };
    let is_target = target.starts_with('/') || (target == "*" && method == "OPTIONS");
    if !token(method.as_bytes()) || !is_target || !target.bytes().all(|b| matches!(b, 0x21..=0x7e))
    {
        return Err(fault("the request line"));
    }
    let (mut hosts, mut lengths, mut codings, mut vias) = (0, Vec::new(), 0, 0);
    loop {
        let field = line(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if field.is_empty() {
            break;
        }
        let colon = field.iter().position(|b| *b == b':').ok_or_else(|| fault("a field line"))?;
        let (name, value) = (&field[..colon], &field[colon + 1..]);
        let [b' ', value @ ..] = value else { return Err(fault("a field line without its space")) };
        let is_trimmed =
            !value.starts_with(b" ") && !value.ends_with(b" ") && !value.ends_with(b"\t");
        let is_value = value.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f));
        if !token(name) || !is_value || !is_trimmed {
            return Err(fault("a field line"));
        }
        match name.to_ascii_lowercase().as_slice() {
            b"host" => hosts += 1,
            b"content-length" => lengths.push(value.to_vec()),
            b"transfer-encoding" if value == b"chunked" => codings += 1,
            b"transfer-encoding" => return Err(fault("a transfer coding")),
            b"via" => vias += 1,
            b"keep-alive" | b"proxy-connection" => return Err(fault("a field of one connection")),
            _ => {}
        }
    }
    if hosts != 1 || vias == 0 || codings + lengths.len() > 1 {
        return Err(fault("Host, Via, Content-Length or Transfer-Encoding"));
    }
    let framing = match (codings, lengths.first()) {
        (1, _) => Framing::Chunked,
        (_, Some(length)) => {
            let text = std::str::from_utf8(length).map_err(|_| fault("the length"))?;
            let number: u64 = text.parse().map_err(|_| fault("the length"))?;
            if number.to_string() != text {
                return Err(fault("the spelling of the length"));
            }
            Framing::Length(number)
        }
        _ => Framing::None,
    };
    Ok(Some(Request { line: format!("{method} {target}"), framing }))
}

fn body(input: &mut impl BufRead, framing: &Framing) -> io::Result<()> {
    match framing {
        Framing::None => Ok(()),
        Framing::Length(length) => exactly(input, *length),
        Framing::Chunked => loop {
            let size = line(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let text = String::from_utf8(size).map_err(|_| fault("a chunk size"))?;
            let number = u64::from_str_radix(&text, 16).map_err(|_| fault("a chunk size"))?;
            if format!("{number:x}") != text {
                return Err(fault("the spelling of a chunk size"));
            }
            if number == 0 {
                return trailers(input);
            }
            exactly(input, number)?;
            if !line(input)?.ok_or(io::ErrorKind::UnexpectedEof)?.is_empty() {
                return Err(fault("the end of a chunk"));
            }
        },
    }
}

fn trailers(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let field = line(input)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if field.is_empty() {
            return Ok(());
        }
        let colon = field.iter().position(|b| *b == b':').ok_or_else(|| fault("a trailer"))?;
        let name = field[..colon].to_ascii_lowercase();
        let frames =
            [&b"content-length"[..], b"transfer-encoding", b"host", b"trailer", b"connection"];
        if !token(&name) || frames.contains(&name.as_slice()) {
            return Err(fault("a trailer"));
        }
    }
}

fn exactly(input: &mut impl BufRead, count: u64) -> io::Result<()> {
    let read = io::copy(&mut input.take(count), &mut io::sink())?;
    if read == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// The reader finds fault with whatever Kiln must not send.
#[test]
fn the_strict_reader_takes_one_spelling_only() {
    let check = |request: &str, is_fine: bool| {
        let seen = Arc::<Seen>::default();
        let shared = seen.clone();
        let origin = tests::Origin::raw(move |stream, _| serve(stream, &shared));
        let mut client = tests::Client::connect(origin.address());
        client.send(request).shut();
        let answer = client.try_rest().unwrap_or_default();
        let faults = seen.faults.lock().expect("no holder panics").clone();
        assert_eq!(
            (!answer.is_empty(), faults.is_empty()),
            (is_fine, is_fine),
            "{request:?}: {faults:?}"
        );
    };
    let head = "POST / HTTP/1.1\r\nHost: a\r\nVia: 1.1 kiln\r\n";
    check(&format!("{head}\r\n"), true);
    check(&format!("{head}Content-Length: 3\r\n\r\nabc"), true);
    check(&format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n"), true);
    for fields in [
        "Content-Length: 03",
        "Content-Length: +3",
        "Content-Length:3",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: Chunked",
        "Host: b",
        "X : 1",
        " X: 1",
        "X:  1",
        "X: a\n",
        "X: \0",
        "Keep-Alive: 1",
    ] {
        check(&format!("{head}{fields}\r\n\r\n"), false);
    }
    for body in [
        "03\r\nabc\r\n0\r\n\r\n",
        "3;a\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "0\r\nContent-Length: 1\r\n\r\n",
    ] {
        check(&format!("{head}Transfer-Encoding: chunked\r\n\r\n{body}"), false);
    }
}
