//! Where a body ends: transfer codings, lengths, chunks and trailers.

use super::{Corpus, SMUGGLED};

/// Spellings of `chunked` that some recipients take for it and others do not.
const CODINGS: &[&str] = &[
    "chunked",
    " chunked",
    "\tchunked",
    "chunked ",
    "chunked\t",
    "Chunked",
    "CHUNKED",
    "chunked,",
    ",chunked",
    "chunked, identity",
    "identity, chunked",
    "identity",
    "gzip, chunked",
    "chunked, gzip",
    "xchunked",
    "chunkedx",
    "\"chunked\"",
    "'chunked'",
    "chunked;q=1",
    "chunked; q=0",
    "chunked\0",
    "\0chunked",
    "chun\0ked",
    "chunked\r",
    "\rchunked",
    "\nchunked",
    "chunked\n",
    "\u{b}chunked",
    "chunked\u{b}",
    "\u{c}chunked",
    "\r\n chunked",
    "\r\n\tchunked",
    "chunked\r\n ",
    "cow",
    "",
    "chunked chunked",
    "chunked, chunked",
    "chun\u{212a}ed",
    "chunked\u{7f}",
    "chunked\u{a0}",
    "\u{a0}chunked",
    "x, chunked, y",
    "trailers, chunked",
    "chunked/1",
    "=chunked",
    ":chunked",
    "(chunked)",
    "chunk",
    "0",
    "null",
];

/// Spellings of the name.
const CODING_NAMES: &[&str] = &[
    "transfer-encoding",
    "TRANSFER-ENCODING",
    "Transfer-Encoding ",
    "Transfer-Encoding\t",
    " Transfer-Encoding",
    "\tTransfer-Encoding",
    "Transfer_Encoding",
    "Transfer Encoding",
    "TransferEncoding",
    "Transfer-Encoding\0",
    "\0Transfer-Encoding",
    "X: x\nTransfer-Encoding",
    "X: x\rTransfer-Encoding",
    "\rTransfer-Encoding",
    "\nTransfer-Encoding",
    "Transfer-Encoding\u{b}",
    "\u{b}Transfer-Encoding",
    "Transfer-Encoding:",
    "Transfer-Encoding\u{a0}",
    "\"Transfer-Encoding\"",
    "Transfer-Encoding\r\n ",
    "Transfer.Encoding",
    "Transfer--Encoding",
    "X-Transfer-Encoding",
    "Transfer-Encoding;",
    "T\u{17f}ransfer-Encoding",
];

pub(super) fn transfer_codings(corpus: &mut Corpus) {
    let ended = format!("0\r\n\r\n{SMUGGLED}");
    let all = ended.len();
    // The content as whoever reads the length sees it, and as whoever reads the chunks does.
    for coding in CODINGS {
        corpus.post(format!("TE alone {coding:?}"), &format!("Transfer-Encoding:{coding}"), &ended);
        corpus.post(
            format!("CL.TE {coding:?}"),
            &format!("Content-Length: {all}\r\nTransfer-Encoding: {coding}"),
            &ended,
        );
        corpus.post(
            format!("TE.CL {coding:?}"),
            &format!("Transfer-Encoding: {coding}\r\nContent-Length: 5"),
            &ended,
        );
    }
    for name in CODING_NAMES {
        corpus.post(format!("name {name:?}, no length"), &format!("{name}: chunked"), &ended);
        corpus.post(
            format!("name {name:?}, whole length"),
            &format!("Content-Length: {all}\r\n{name}: chunked"),
            &ended,
        );
        corpus.post(
            format!("name {name:?}, short length"),
            &format!("{name}: chunked\r\nContent-Length: 5"),
            &ended,
        );
        corpus.post(
            format!("name {name:?} beside a true one"),
            &format!("{name}: identity\r\nTransfer-Encoding: chunked"),
            &ended,
        );
    }
    for (one, two) in [
        ("chunked", "chunked"),
        ("chunked", "identity"),
        ("identity", "chunked"),
        ("gzip", "chunked"),
        ("chunked", "x"),
        ("x", "chunked"),
        ("chunked", ""),
        ("", "chunked"),
    ] {
        let fields = format!("Transfer-Encoding: {one}\r\nTransfer-Encoding: {two}");
        corpus.post(format!("TE.TE {one:?} {two:?}"), &fields, &ended);
        corpus.post(
            format!("TE.CL.TE {one:?} {two:?}"),
            &format!(
                "Transfer-Encoding: {one}\r\nContent-Length: {all}\r\nTransfer-Encoding: {two}"
            ),
            &ended,
        );
    }
    for version in ["HTTP/1.0", "HTTP/1.2", "HTTP/0.9", "HTTP/2.0"] {
        for fields in
            ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5"]
        {
            let head = format!(
                "POST /case-@ {version}\r\nHost: test\r\nConnection: keep-alive\r\n{fields}"
            );
            corpus.add(format!("TE in {version}"), format!("{head}\r\n\r\n{ended}"));
        }
    }
}

pub(super) fn lengths(corpus: &mut Corpus) {
    let length = SMUGGLED.len();
    for value in [
        "0",
        "00",
        "000000000000000000000000",
        "+0",
        "-0",
        "-1",
        "0x0",
        "0x10",
        " 0",
        "0 ",
        "0\t",
        "0,0",
        "0, 0",
        "0,40",
        "40,0",
        "0;",
        "0 0",
        "0.0",
        "0e1",
        "",
        " ",
        "a",
        "0\0",
        "\u{0}0",
        "0\r",
        "\r0",
        "0\n",
        "\n0",
        "\u{b}0",
        "0\u{b}",
        "0\u{c}",
        "\r\n 0",
        "0\r\n 0",
        "\"0\"",
        "(0)",
        "\u{661}",
        "0_0",
        "1_0",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551656",
        "4294967296",
        "4294967336",
        "9223372036854775807",
        "9223372036854775808",
        "-18446744073709551616",
        "99999999999999999999999999999",
        "0b0",
        "0o0",
        "'0'",
        "{0}",
        "0#",
        "#0",
        "0&",
        "=0",
        ":0",
    ] {
        corpus.post(format!("CL {value:?}"), &format!("Content-Length: {value}"), SMUGGLED);
    }
    for value in [
        format!("{length}"),
        format!("0{length}"),
        format!("+{length}"),
        format!("{length},"),
        format!("{length} "),
        format!("{length}.0"),
        format!("{length:#x}"),
        format!("{length:x}"),
        format!("{length},{length}"),
        format!("{length};x"),
        format!("{length}\0"),
    ] {
        corpus.post(format!("CL whole {value:?}"), &format!("Content-Length: {value}"), SMUGGLED);
    }
    for (one, two) in [(0, length), (length, 0), (length, length), (0, 0), (1, length)] {
        for between in ["", "X: 1\r\n", "content-type: x\r\n"] {
            let fields = format!("Content-Length: {one}\r\n{between}content-length: {two}");
            corpus.post(format!("CL.CL {one} {two}"), &fields, SMUGGLED);
        }
    }
    for name in [
        "Content-Length ",
        "Content-Length\t",
        " Content-Length",
        "\tContent-Length",
        "Content_Length",
        "Content Length",
        "ContentLength",
        "Content-Length\0",
        "X: x\nContent-Length",
        "X: x\rContent-Length",
        "\rContent-Length",
        "Content-Length:",
        "\u{b}Content-Length",
        "Content-Length\u{a0}",
        "Content--Length",
        "\"Content-Length\"",
        "content-LENGTH",
        "X-Content-Length",
        "Content-Length\r\n ",
    ] {
        let whole = format!("{name}: {length}");
        corpus.post(format!("CL name {name:?}"), &whole, SMUGGLED);
        corpus.post(
            format!("CL name {name:?} beside a true one"),
            &format!("{whole}\r\nContent-Length: 0"),
            SMUGGLED,
        );
        corpus.post(
            format!("CL name {name:?} beside TE"),
            &format!("{whole}\r\nTransfer-Encoding: chunked"),
            &format!("0\r\n\r\n{SMUGGLED}"),
        );
    }
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "PATCH", "X"] {
        for (fields, body) in [
            (format!("Content-Length: {length}"), SMUGGLED.to_owned()),
            (
                "Transfer-Encoding: chunked".to_owned(),
                format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"),
            ),
            ("Content-Length: 0".to_owned(), String::new()),
        ] {
            let head = format!("{method} /case-@ HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n");
            corpus.add(format!("content in {method}"), format!("{head}{body}"));
        }
    }
}

pub(super) fn chunks(corpus: &mut Corpus) {
    let fields = "Transfer-Encoding: chunked";
    for size in [
        "0",
        "00",
        "0000000000000000",
        "00000000000000000000",
        "+0",
        "-0",
        "-1",
        "0x0",
        "0X0",
        "0h",
        " 0",
        "0 ",
        "0\t",
        "\t0",
        "0\0",
        "\u{0}0",
        "0\r",
        "0\n",
        "\n0",
        "\r0",
        "\u{b}0",
        "0\u{b}",
        "0 0",
        "0_0",
        "0,0",
        "0.0",
        "g",
        "",
        "\"0\"",
        "10000000000000000",
        "100000000000000000000",
        "ffffffffffffffff",
        "fffffffffffffffff",
        "ffffffff",
        "100000000",
        "8000000000000000",
        "7fffffffffffffff",
        "\u{ff10}",
        "0;",
        "0;a",
        "0;a=b",
        "0;a=\"b\"",
        "0;a=\"\r\n\"",
        "0;a=\n",
        "0;a\r",
        "0 ;a",
        "0;\0",
        "0;;",
        "0;a=b;c",
        "0;a=\"b",
        "0,a",
        "0 a",
        "0\u{7f}",
        "0#",
        "0//",
    ] {
        corpus.post(format!("chunk size {size:?}"), fields, &format!("{size}\r\n\r\n{SMUGGLED}"));
        corpus.post(
            format!("chunk size {size:?} second"),
            fields,
            &format!("3\r\nabc\r\n{size}\r\n\r\n{SMUGGLED}"),
        );
    }
    for body in [
        "1\r\nA0\r\n\r\n",
        "1\r\nA\r0\r\n\r\n",
        "1\r\nA\n0\r\n\r\n",
        "1\nA\n0\n\n",
        "1\r\nA\r\n0\r\n\n",
        "1\r\nA\r\n0\n\r\n",
        "1\rA\r0\r\r",
        "1\r\nAB\r\n0\r\n\r\n",
        "2\r\nA\r\n0\r\n\r\n",
        "1\r\nA\r\n\r\n0\r\n\r\n",
        "1\r\n\r\n0\r\n\r\n",
        "0\r\n\r",
        "0\r\n",
        "0\r",
        "0",
        "1\r\n",
        "1",
        "1\r\nA\r\n0\r\n",
        "0\r\n\r\r\n",
        "0\r\n \r\n\r\n",
        "0\r\rn\r\n",
        "1\r\r\nA\r\n0\r\n\r\n",
        "1\r\nA\r\r\n0\r\n\r\n",
        "1;\nA\r\n0\r\n\r\n",
        "1;a\nA\r\n0\r\n\r\n",
        "1;a\"\r\n\"\r\nA\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "\r\n1\r\nA\r\n0\r\n\r\n",
    ] {
        corpus.post(format!("chunks {body:?}"), fields, &format!("{body}{SMUGGLED}"));
    }
    for trailer in [
        "X: 1",
        "Content-Length: 40",
        "Transfer-Encoding: chunked",
        "Host: other",
        "X : 1",
        " X: 1",
        "X",
        ": 1",
        "X: 1\n",
        "X: a\rY: b",
        "X: \0",
        "X: 1\r\n Y: folded",
        "Connection: close",
        "Trailer: X",
        "Content-Length: 40\nX: 1",
        "GET /smuggled-@ HTTP/1.1",
        "Via: 1.1 x",
        "X-Forwarded-For: 192.0.2.1",
        "Cookie: a",
        "Te: x",
    ] {
        corpus.post(
            format!("trailer {trailer:?}"),
            fields,
            &format!("0\r\n{trailer}\r\n\r\n{SMUGGLED}"),
        );
        corpus.post(
            format!("announced trailer {trailer:?}"),
            &format!("TE: trailers\r\nConnection: TE\r\nTrailer: X, Content-Length\r\n{fields}"),
            &format!("3\r\nabc\r\n0\r\n{trailer}\r\n\r\n"),
        );
    }
}
