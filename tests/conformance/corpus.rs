//! Ambiguous and hostile requests, made systematically: each way to write one thing wrongly, combined
//! with each place where it could matter.
//!
//! In every request `-@` stands for the number of its case, so that what an origin saw can be told from
//! what others made it see. `/case-@` is the request itself; `/smuggled-@` stands where only a parser
//! that disagrees sees a request.

mod bodies;
mod heads;

/// One of them.
pub(crate) struct Case {
    /// What it tries.
    pub(crate) name: String,
    /// What is sent.
    pub(crate) bytes: Vec<u8>,
}

/// What a disagreement would make a request of.
const SMUGGLED: &str = "GET /smuggled-@ HTTP/1.1\r\nHost: test\r\n\r\n";

/// A corpus in the making.
#[derive(Default)]
struct Corpus(Vec<Case>);

impl Corpus {
    fn add(&mut self, name: impl Into<String>, text: impl AsRef<[u8]>) {
        let number = self.0.len().to_string();
        let mut bytes: Vec<u8> = Vec::new();
        for &byte in text.as_ref() {
            match (byte, bytes.last()) {
                (b'@', Some(b'-')) => bytes.extend(number.bytes()),
                _ => bytes.push(byte),
            }
        }
        self.0.push(Case { name: name.into(), bytes });
    }

    /// A POST with these field lines and this content.
    fn post(&mut self, name: impl Into<String>, fields: &str, body: &str) {
        self.add(name, format!("POST /case-@ HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n{body}"));
    }

    /// A GET with this line before `Host`, as it is.
    fn get(&mut self, name: impl Into<String>, fields: &str) {
        self.add(name, format!("GET /case-@ HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n"));
    }
}

/// All of them, in a fixed order.
pub(crate) fn cases() -> Vec<Case> {
    let mut corpus = Corpus::default();
    bodies::transfer_codings(&mut corpus);
    bodies::lengths(&mut corpus);
    bodies::chunks(&mut corpus);
    heads::bytes_and_lines(&mut corpus);
    heads::names(&mut corpus);
    heads::targets_and_hosts(&mut corpus);
    heads::request_lines(&mut corpus);
    heads::connections(&mut corpus);
    heads::sizes_and_pipelines(&mut corpus);
    corpus.0
}
