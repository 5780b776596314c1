//! `kiln origin`: a small HTTP/1.1 origin that answers with what it was asked, to try scripts against.
//!
//! It is for a developer's own machine: one thread a connection, no limits beyond its table of them.
//!
//! | query         | effect                                  |
//! |---------------|-----------------------------------------|
//! | `status=N`    | answers with that status                |
//! | `bytes=N`     | answers with so many bytes              |
//! | `delay_ms=N`  | waits before it answers                 |
//! | `chunked=1`   | sends its answer chunked                |
//! | `close=1`     | closes the connection afterwards        |

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Longest head that it reads.
const HEAD_BYTES_MAX: usize = 64 << 10;
const FIELDS_MAX: usize = 128;
/// Longest wait that a query may ask for.
const DELAY_MS_MAX: u64 = 600_000;

/// Asks for this process to end when its parent does.
pub fn end_with_parent() -> io::Result<()> {
    Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?)
}

/// Serves until the process ends.
pub fn serve(listener: &TcpListener, name: &str) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        let name = name.to_owned();
        thread::spawn(move || {
            // A client that goes away is its own affair.
            let _ = converse(&stream, &name);
        });
    }
    Ok(())
}

fn converse(stream: &TcpStream, name: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::new(stream);
    while let Some(head) = read_head(&mut input)? {
        let Some(request) = Request::parse(&head) else {
            return (&*stream).write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        };
        let mut output = stream;
        if request.field("expect").eq_ignore_ascii_case("100-continue") {
            output.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let received = read_body(&mut input, &request)?;
        thread::sleep(Duration::from_millis(request.number("delay_ms").min(DELAY_MS_MAX)));
        let close = answer(&mut output, &request, name, received)?;
        if close {
            break;
        }
    }
    Ok(())
}

struct Request {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
}

impl Request {
    fn parse(head: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        if !request.parse(head).ok()?.is_complete() {
            return None;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = request.headers.iter().map(|field| (field.name.to_owned(), text(field.value)));
        Some(Self {
            method: request.method?.to_owned(),
            target: request.path?.to_owned(),
            fields: fields.collect(),
        })
    }

    fn field(&self, name: &str) -> &str {
        let mut fields = self.fields.iter();
        fields.find(|field| field.0.eq_ignore_ascii_case(name)).map_or("", |field| &field.1)
    }

    /// A number in the query; 0 when it is not there.
    fn number(&self, name: &str) -> u64 {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|pair| pair.0 == name).and_then(|pair| pair.1.parse().ok()).unwrap_or(0)
    }
}

fn read_head(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    loop {
        let before = head.len();
        let read = input.take(HEAD_BYTES_MAX as u64).read_until(b'\n', &mut head)?;
        if read == 0 {
            return Ok(None);
        }
        if head[before..] == *b"\r\n" && before > 0 {
            return Ok(Some(head));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("the head is too long"));
        }
    }
}

/// Reads and counts the request's content.
fn read_body(input: &mut impl BufRead, request: &Request) -> io::Result<u64> {
    if !request.field("transfer-encoding").eq_ignore_ascii_case("chunked") {
        let length = request.field("content-length").parse().unwrap_or(0);
        return io::copy(&mut input.take(length), &mut io::sink());
    }
    let mut total = 0;
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
        total += io::copy(&mut input.take(size), &mut io::sink())?;
        loop {
            // The end of the chunk, or trailers up to an empty line.
            line.clear();
            let read = input.read_line(&mut line)?;
            if read == 0 || line == "\r\n" {
                break;
            }
        }
        if size == 0 {
            return Ok(total);
        }
    }
}

/// Answers; whether the connection is to be closed.
fn answer(
    output: &mut impl Write,
    request: &Request,
    name: &str,
    received: u64,
) -> io::Result<bool> {
    let status = match request.number("status") {
        0 => 200,
        status => status.clamp(200, 599),
    };
    let body = match request.number("bytes") {
        0 => describe(request, name, received).into_bytes(),
        bytes => vec![b'x'; usize::try_from(bytes).unwrap_or(usize::MAX).min(1 << 30)],
    };
    let close =
        request.number("close") != 0 || request.field("connection").eq_ignore_ascii_case("close");
    let connection = if close { "Connection: close\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} Demo\r\nServer: {name}\r\nContent-Type: text/plain\r\n{connection}"
    );
    let mut message = head.into_bytes();
    let bodiless = request.method == "HEAD" || status == 204 || status == 304;
    if request.number("chunked") != 0 {
        message.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        if !bodiless {
            for chunk in body.chunks(8 << 10) {
                message.extend(format!("{:x}\r\n", chunk.len()).bytes());
                message.extend(chunk);
                message.extend(b"\r\n");
            }
            message.extend(b"0\r\n\r\n");
        }
    } else {
        message.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        if !bodiless {
            message.extend(&body);
        }
    }
    output.write_all(&message)?;
    Ok(close)
}

fn describe(request: &Request, name: &str, received: u64) -> String {
    let mut text = format!("{name} got {} {}", request.method, request.target);
    if received > 0 {
        text += &format!(" with {received} bytes");
    }
    text += "\n";
    for (field, value) in &request.fields {
        text += &format!("  {field}: {value}\n");
    }
    text
}
