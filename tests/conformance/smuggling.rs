//! Do Kiln and real servers see the same requests? Every case of the corpus goes through Kiln to nginx,
//! Apache httpd, HAProxy and Node.js, followed by a harmless request. Each of them writes down what it
//! saw and names it in its answer, and all of that has to agree with what Kiln relayed. A fifth origin
//! checks that what Kiln sends is written in the one way that leaves nothing open.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use tests::{Client, Kiln, Nginx, Origin, Server};

use crate::corpus::{Case, cases};
use crate::strict::{self, Seen};

/// What the client of one case got: what the origin says it saw, in order, and the statuses of
/// answers that are Kiln's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answers {
    forwarded: Vec<String>,
    own: Vec<u16>,
}

/// An origin of this test.
trait Logging: Sync {
    fn name(&self) -> &'static str;
    fn address(&self) -> SocketAddr;
    /// `METHOD TARGET` of every request that it saw so far, in order, and lines of what was none.
    fn requests(&self) -> Vec<String>;
}

/// What matters of a request line: its method, and the target up to the number of its case, since logs
/// shorten and quote the rest. What is no request line stays what it is.
fn gist(line: &str) -> String {
    let Some((method, target)) = line.split_once(' ') else { return line.to_owned() };
    let end = target.find(' ').unwrap_or(target.len());
    let target = &target[..end];
    let numbered = TAGS.iter().find_map(|tag| Some(target.find(tag)? + tag.len()));
    let cut = numbered.map_or(target.len(), |at| {
        let digits = target[at..].find(|c: char| !c.is_ascii_digit());
        digits.map_or(target.len(), |digits| at + digits)
    });
    format!("{method} {}", &target[..cut])
}

/// What stands before the number of a case in a target.
const TAGS: [&str; 4] = ["case-", "smuggled-", "second-", "probe-"];

/// The number of the case that a request belongs to.
fn number_of(line: &str) -> Option<usize> {
    let digits = TAGS.iter().find_map(|tag| line.split_once(tag))?.1;
    digits.parse().ok()
}

impl Logging for Server {
    fn name(&self) -> &'static str {
        Server::name(self)
    }

    fn address(&self) -> SocketAddr {
        Server::address(self)
    }

    fn requests(&self) -> Vec<String> {
        Server::requests(self).iter().map(|line| gist(line)).collect()
    }
}

impl Logging for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn address(&self) -> SocketAddr {
        Nginx::address(self)
    }

    fn requests(&self) -> Vec<String> {
        // `CONNECTION METHOD TARGET VERSION STATUS`.
        let line = |line: &String| {
            let (_, rest) = line.split_once(' ')?;
            Some(gist(rest.rsplit_once(' ')?.0))
        };
        self.access_log().iter().filter_map(line).collect()
    }
}

/// The origin of [`strict`].
struct Strict {
    origin: Origin,
    seen: Arc<Seen>,
}

impl Strict {
    fn start() -> Self {
        let seen = Arc::<Seen>::default();
        let shared = seen.clone();
        Strict { origin: Origin::raw(move |stream, _| strict::serve(stream, &shared)), seen }
    }
}

impl Logging for Strict {
    fn name(&self) -> &'static str {
        "a strict reader"
    }

    fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().expect("no holder panics").iter().map(|line| gist(line)).collect()
    }
}

/// Sends one case and the probe, and no more; reads everything.
fn ask(kiln: SocketAddr, case: &Case, number: usize) -> Result<Answers, String> {
    let mut client = Client::connect(kiln);
    let probe = format!("GET /probe-{number} HTTP/1.1\r\nHost: test\r\n\r\n");
    // It may be refused before it was sent.
    let _ = client.try_send([&case.bytes, probe.as_bytes()].concat());
    client.shut();
    let mut rest = match client.try_rest() {
        Ok(rest) => rest,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Vec::new(),
        Err(error) => return Err(format!("not closed: {error}")),
    };
    let mut answers = Answers::default();
    while !rest.is_empty() {
        let text = String::from_utf8_lossy(&rest).into_owned();
        let Some((head, _)) = text.split_once("\r\n\r\n") else {
            return Err(format!("half a head: {text:?}"));
        };
        let field = |name: &str| {
            let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, v)| v).next()
        };
        let status: u16 = head.get(9..12).and_then(|s| s.parse().ok()).ok_or(head)?;
        let seen = field("x-seen").map(gist);
        let is_head = seen.as_ref().is_some_and(|line| line.starts_with("HEAD "));
        rest.drain(..head.len() + 4);
        match (status, field("content-length"), field("transfer-encoding")) {
            (100..=199 | 204 | 304, ..) => {}
            _ if is_head => {}
            (_, Some(length), None) => {
                let length: usize = length.parse().map_err(|_| head.to_owned())?;
                // An answer of Kiln's own to HEAD has a length and no content.
                rest.drain(..length.min(rest.len()));
            }
            (_, None, Some("chunked")) => {
                let end = chunks_end(&rest).ok_or("chunks without an end")?;
                rest.drain(..end);
            }
            _ => rest.clear(),
        }
        match seen {
            Some(line) => answers.forwarded.push(line),
            None if status >= 200 => answers.own.push(status),
            None => {}
        }
    }
    Ok(answers)
}

/// Where chunks end that Kiln wrote.
fn chunks_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line_end = at + bytes.get(at..)?.windows(2).position(|pair| pair == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[at..line_end]).ok()?;
        let size = usize::from_str_radix(size, 16).ok()?;
        at = line_end + 2 + size + 2;
        if size == 0 {
            return Some(at);
        }
    }
}

/// Everything that went to one origin.
struct Transcript {
    name: &'static str,
    answers: Vec<Answers>,
    /// What the origin saw of each case; those without a number are under `None`.
    seen: BTreeMap<Option<usize>, Vec<String>>,
}

impl Transcript {
    /// Says so if the origin saw another sequence of requests than the one that Kiln relayed answers to.
    fn unlike_kiln(&self, number: usize) -> Option<String> {
        let answers = &self.answers[number];
        let seen = self.seen.get(&Some(number)).map_or(&[][..], |seen| seen);
        // A log is written after the answer, so those of two connections may change places.
        let mut unanswered = seen.to_vec();
        let is_seen = |line: &String| {
            let at = unanswered.iter().position(|seen| seen == line);
            at.map(|at| unanswered.remove(at)).is_some()
        };
        let mut relayed = answers.forwarded.iter().filter(|line| number_of(line).is_some());
        let is_all_seen = relayed.all(is_seen);
        // One that broke off in its content may have been seen without being answered; nothing of that
        // client is seen after it.
        let is_accounted_for = match &unanswered[..] {
            [] => true,
            [only] => only.contains("/case-") && !seen.concat().contains("/probe-"),
            _ => false,
        };
        let is_same = is_all_seen && is_accounted_for;
        (!is_same).then(|| format!("{} saw {seen:?}, and Kiln relayed {answers:?}", self.name))
    }

    /// Says so if this origin and another one were made to see different requests. An origin may refuse
    /// one by itself, which Kiln relays or makes a 502 of; it may not see another one instead.
    fn unlike(&self, other: &Transcript, number: usize) -> Option<String> {
        let (mine, others) = (&self.answers[number], &other.answers[number]);
        let mut left = mine.forwarded.iter().peekable();
        for line in &others.forwarded {
            left.next_if(|mine| *mine == line);
        }
        let is_subsequence = left.peek().is_none();
        let missing = others.forwarded.len().checked_sub(mine.forwarded.len());
        let is_alike = is_subsequence && missing == mine.own.len().checked_sub(others.own.len());
        // Where a client's content is wrong, it is a matter of time how much an origin says before.
        let is_broken_off =
            ![mine, others].iter().any(|a| a.forwarded.concat().contains("/probe-"));
        (!is_alike && !is_broken_off).then(|| {
            format!("{} was made to answer {mine:?}, and {} {others:?}", self.name, other.name)
        })
    }

    /// How many requests this origin refused that the other one answered.
    fn refusals_since(&self, other: &Transcript) -> usize {
        let pairs = self.answers.iter().zip(&other.answers);
        let unnamed =
            |answers: &Answers| answers.own.iter().filter(|status| **status >= 400).count();
        pairs.map(|(mine, others)| unnamed(mine).saturating_sub(unnamed(others))).sum()
    }
}

fn run(origin: &dyn Logging, corpus: &[Case]) -> Transcript {
    let kiln = Kiln::forwarding_to(&[origin.address()]);
    let address = kiln.address();
    let answers: Vec<Answers> = corpus
        .iter()
        .enumerate()
        .map(|(number, case)| {
            let answers = ask(address, case, number);
            answers.unwrap_or_else(|error| panic!("{}: {}: {error}", origin.name(), case.name))
        })
        .collect();
    // A last one, so that whatever was logged before it is there.
    kiln.get("/end");
    let name = origin.name();
    tests::until_true(&format!("{name} has logged everything"), || {
        origin.requests().iter().filter(|line| line.ends_with(" /end")).count() >= 1
    });
    let mut seen: BTreeMap<Option<usize>, Vec<String>> = BTreeMap::new();
    for line in origin.requests().into_iter().filter(|line| !line.ends_with(" /end")) {
        seen.entry(number_of(&line)).or_default().push(line);
    }
    Transcript { name, answers, seen }
}

/// RFC 9112, section 11.2: a request that is seen where none was made is how caches are poisoned and
/// sessions are stolen. This is the same question, asked with what is known to work somewhere.
#[test]
fn kiln_and_its_origins_see_the_same_requests() {
    let corpus = cases();
    assert!(corpus.len() > 500, "{}", corpus.len());
    let strict = Strict::start();
    let (nginx, apache) = (Nginx::start(), Server::apache());
    let (haproxy, node) = (Server::haproxy(), Server::node());
    let origins: [&dyn Logging; 5] = [&strict, &nginx, &apache, &haproxy, &node];
    let transcripts: Vec<Transcript> = thread::scope(|scope| {
        let corpus = &corpus;
        let runs = origins.map(|origin| scope.spawn(move || run(origin, corpus)));
        runs.into_iter().map(|run| run.join().expect("its panic says why")).collect()
    });
    let (reference, others) = transcripts.split_first().expect("there are five");
    let mut problems = Vec::new();
    let (mut refused, mut forwarded, mut broken_off) = (0, 0, 0);
    for (number, case) in corpus.iter().enumerate() {
        let answers = &reference.answers[number];
        match (answers.forwarded.is_empty(), answers.own.is_empty()) {
            (false, _) => forwarded += 1,
            (true, false) => refused += 1,
            (true, true) => broken_off += 1,
        }
        let mut found: Vec<String> =
            transcripts.iter().filter_map(|t| t.unlike_kiln(number)).collect();
        found.extend(others.iter().filter_map(|other| other.unlike(reference, number)));
        let sent = String::from_utf8_lossy(&case.bytes[..case.bytes.len().min(300)]);
        problems
            .extend(found.iter().map(|found| format!("{}: {found}; sent was {sent:?}", case.name)));
    }
    // What has no number of its own, as `OPTIONS *`.
    let of_nobody = |transcript: &Transcript| {
        let lines = transcript.seen.get(&None).into_iter().flatten().cloned();
        let is_request = |line: &String| line.contains(" /") || line.contains(" *");
        let (mut requests, refused): (Vec<String>, Vec<String>) = lines.partition(is_request);
        requests.sort();
        (requests, refused.len())
    };
    for transcript in &transcripts {
        let (requests, refused) = of_nobody(transcript);
        if requests != of_nobody(reference).0 || refused != transcript.refusals_since(reference) {
            problems.push(format!(
                "{} saw besides: {:?}",
                transcript.name,
                transcript.seen.get(&None)
            ));
        }
    }
    problems.extend(strict.seen.faults.lock().expect("no holder panics").iter().cloned());
    println!(
        "{} cases: {refused} refused, {forwarded} forwarded, {broken_off} broken off",
        corpus.len()
    );
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    assert!(refused > 200 && forwarded > 100, "the corpus has both: {refused} and {forwarded}");
}
