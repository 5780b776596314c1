//! Programs that people point at a web server, as clients of one Kiln: what they get and count is what
//! they would get and count from the origin itself.
//!
//! curl shows single answers, ab, h2load and wrk show how connections are used, each with habits of its
//! own (HTTP/1.0, pipelining, many at once), and Chromium shows what a page needs together.

use std::net::SocketAddr;
use std::process::Command;

use tests::{Finished, Kiln, Nginx, Origin, Server, Wrk, run, until_true};

use crate::{alone, beside_others};

/// Sends what begins with these to the one origin, and everything else to the other.
const SITE: &str = "#include <kiln.h>
kiln::Action on_request(kiln::Request& request) {
    std::string_view path = request.path();
    if (path == \"/chat\") return kiln::forward(\"chat\");
    for (std::string_view prefix : {\"/files/\", \"/gzip/\", \"/status/\", \"/upload\"}) {
        if (path.starts_with(prefix)) return kiln::forward(\"files\");
    }
    return kiln::forward(\"page\");
}
";

/// Field lines that belong to one connection or say who passed a message on.
const OF_THE_CONNECTION: [&str; 5] = ["connection:", "keep-alive:", "date:", "via:", "server:"];

/// Requests of each run of a load tool, and the connections that they share.
const REQUESTS: &str = "2000";
const CONNECTIONS: &str = "50";

/// A site with a page, files and a WebSocket, and a Kiln before all of it.
struct Site {
    files: Nginx,
    page: Server,
    kiln: Kiln,
    /// Held for its drop alone.
    _chat: Origin,
}

impl Site {
    fn start() -> Self {
        let (files, page, chat) = (Nginx::start(), Server::node_running(PAGE), echo());
        files.write("text", "all work and no play\n".repeat(1000));
        files.write("small", "x".repeat(300));
        let kiln = Kiln::builder()
            .script(SITE)
            .workers(1)
            .upstream("files", &[files.address()])
            .upstream("page", &[page.address()])
            .upstream("chat", &[chat.address()])
            .start();
        Site { files, page, kiln, _chat: chat }
    }

    /// Both targets that load tools ask for, each with the origin that has it.
    fn targets(&self) -> [(&'static str, SocketAddr); 2] {
        [("/files/small", self.files.address()), ("/data.json", self.page.address())]
    }
}

/// A WebSocket server that sends back what comes.
fn echo() -> Origin {
    Origin::raw(|stream, _| {
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        while let Ok(message) = socket.read() {
            // Pings and closing are answered by the implementation.
            if message.is_text() || message.is_binary() {
                let _ = socket.send(message);
            }
        }
    })
}

/// What a program prints about a URL.
#[track_caller]
fn output(program: &str, arguments: &[&str], url: &str) -> String {
    let Finished { status, stdout, stderr } = run(Command::new(program).args(arguments).arg(url));
    assert!(status.success(), "{program} {arguments:?} {url}: {status}\n{stdout}{stderr}");
    stdout
}

/// What curl is answered: the heads without what belongs to the connection, in an order that does not
/// depend on who wrote them, and the body.
#[track_caller]
fn curl(arguments: &[&str], address: SocketAddr, target: &str) -> (Vec<String>, String) {
    let all = ["--silent", "--max-time", "20", "--noproxy", "*", "--dump-header", "-"];
    let url = format!("http://{address}{target}");
    let printed = output("curl", &[&all, arguments].concat(), &url);
    let mut rest = printed.as_str();
    let mut lines = Vec::new();
    // An interim answer has a head of its own.
    while rest.starts_with("HTTP/1.") {
        let Some((head, after)) = rest.split_once("\r\n\r\n") else { break };
        lines.extend(head.lines().map(|line| line.replace(&address.to_string(), "HOST")));
        rest = after;
    }
    lines.retain(|line| {
        let line = line.to_ascii_lowercase();
        !OF_THE_CONNECTION.iter().any(|name| line.starts_with(name))
    });
    // Kiln writes its own lines in a case of its own.
    lines.iter_mut().for_each(|line| line.make_ascii_lowercase());
    lines.sort();
    (lines, rest.to_owned())
}

#[test]
fn curl_gets_the_answers_of_the_origin() {
    let _beside = beside_others();
    let site = Site::start();
    let large = site.kiln.folder().join("large");
    std::fs::write(&large, "0123456789abcdef".repeat(1 << 16)).expect("a file");
    let large = large.to_str().expect("a temporary folder has a plain name");
    let data = format!("@{large}");
    let (files, page) = (site.files.address(), site.page.address());
    let check = |arguments: &[&str], target: &str, origin: SocketAddr| {
        let direct = curl(arguments, origin, target);
        let through = curl(arguments, site.kiln.address(), target);
        assert_eq!(through, direct, "curl {arguments:?} {target}");
    };
    check(&[], "/files/text", files);
    check(&["--head"], "/files/text", files);
    check(&["--range", "100-199"], "/files/text", files);
    check(&["--range", "1000000-"], "/files/text", files);
    check(&["--header", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT"], "/files/text", files);
    check(&["--compressed"], "/gzip/text", files);
    check(&[], "/files/none", files);
    for status in [204, 304, 404, 503] {
        check(&[], &format!("/status/{status}"), files);
    }
    check(&["--request", "DELETE"], "/files/none", files);
    // nginx says whether it is a new file.
    site.files.write("upload", "");
    check(&["--upload-file", large], "/upload", files);
    assert_eq!(site.files.read("upload").len(), 1 << 20);
    check(&[], "/cookies", page);
    check(&["--head"], "/data.json", page);
    check(&["--location"], "/moved", page);
    check(&["--data-binary", &data], "/echo", page);
    check(&["--data-binary", &data, "--header", "Expect: 100-continue"], "/echo", page);
    check(&["--data-binary", &data, "--header", "Transfer-Encoding: chunked"], "/echo", page);
    check(&["--form", &format!("file={data}")], "/echo", page);
    // Two exchanges on one connection.
    check(&["--data", "a=1", "--next", "--silent"], "/echo", page);
}

/// The numbers that a load tool prints on lines that begin with these.
#[track_caller]
fn summary(printed: &str, beginnings: &[&str]) -> Vec<String> {
    let lines = printed.lines().map(str::trim);
    let found: Vec<String> = lines
        .filter(|line| beginnings.iter().any(|beginning| line.starts_with(beginning)))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(found.len(), beginnings.len(), "{beginnings:?} in:\n{printed}");
    found
}

/// ab speaks HTTP/1.0, and keeps a connection only if the answer says that it may.
#[test]
fn ab_counts_what_it_counts_at_the_origin() {
    let _alone = alone();
    let site = Site::start();
    let counts =
        ["Document Length:", "Complete requests:", "Failed requests:", "HTML transferred:"];
    for (target, origin) in site.targets() {
        for options in [&[][..], &["-k"], &["-i"]] {
            let ask = |address: SocketAddr| {
                let all = [options, &["-q", "-n", REQUESTS, "-c", CONNECTIONS]].concat();
                let printed = output("ab", &all, &format!("http://{address}{target}"));
                assert!(!printed.contains("Non-2xx"), "{printed}");
                if options == ["-k"] {
                    let kept = summary(&printed, &["Keep-Alive requests:"]);
                    assert_eq!(kept, [format!("Keep-Alive requests: {REQUESTS}")], "{printed}");
                }
                summary(&printed, &counts)
            };
            assert_eq!(ask(site.kiln.address()), ask(origin), "ab {options:?} {target}");
        }
    }
}

/// h2load has one request on a connection at a time, or several in a pipeline.
#[test]
fn h2load_gets_every_answer_in_order() {
    let _alone = alone();
    let site = Site::start();
    for (target, origin) in site.targets() {
        for pipelined in ["1", "10"] {
            let ask = |address: SocketAddr| {
                let all = ["--h1", "-n", REQUESTS, "-c", CONNECTIONS, "-m", pipelined];
                let printed = output("h2load", &all, &format!("http://{address}{target}"));
                summary(&printed, &["requests:", "status codes:"])
            };
            let through = ask(site.kiln.address());
            assert!(through[0].contains(&format!("{REQUESTS} succeeded")), "{through:?}");
            assert_eq!(through, ask(origin), "h2load -m {pipelined} {target}");
        }
    }
}

#[test]
fn wrk_loses_nothing_on_hundreds_of_connections() {
    let _alone = alone();
    let site = Site::start();
    for (target, _) in site.targets() {
        let requests = || site.kiln.workers()[0]["requests"].as_u64().expect("a number");
        let enough = requests() + 5000;
        let wrk = Wrk::start(site.kiln.address(), target, 300);
        until_true("five thousand requests", || requests() >= enough);
        wrk.stop().expect_nothing_lost();
        until_true("no connection is left", || site.kiln.workers()[0]["connections"] == 0);
    }
}

/// The page writes into itself what it got. Chromium prints it once it has loaded, which an image
/// holds up that the origin sends last; and each event is sent when the page has told of the one before,
/// so that an event that is held back anywhere stops everything.
#[test]
fn a_page_in_chromium_fetches_posts_listens_and_talks() {
    let _beside = beside_others();
    let site = Site::start();
    let profile = format!("--user-data-dir={}", site.kiln.folder().join("profile").display());
    let options = [
        "--headless",
        // It refuses to be root's with it, and shows nothing but this page.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        // It asks nobody for anything but the page.
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--timeout=30000",
        "--dump-dom",
        &profile,
    ];
    let printed = output("chromium", &options, &format!("http://{}/", site.kiln.address()));
    for (name, outcome) in [
        ("style", "rgb(1, 2, 3)"),
        ("cookies", "a=1; b=2"),
        ("json", "forty-two"),
        ("post", "POST 200000"),
        ("file", "21000"),
        ("events", "first,second,third"),
        ("socket", "hello 65536 1000 true"),
    ] {
        let element = format!("<p id=\"{name}\">{outcome}</p>");
        assert!(printed.contains(&element), "expected {element} in:\n{printed}");
    }
}

/// The origin of the page.
const PAGE: &str = r#"
const http = require('http');
const page = `<!DOCTYPE html>
<html><head><link rel="stylesheet" href="/style.css"></head>
<body><img src="/held"><script src="/script.js"></script></body></html>`;
const script = `
const say = (name, outcome) => {
    const element = document.createElement('p');
    element.id = name;
    element.textContent = outcome;
    document.body.append(element);
};
const events = () => new Promise(done => {
    const source = new EventSource('/events'), got = [];
    source.onerror = () => done('an error after ' + got);
    source.onmessage = event => {
        got.push(event.data);
        if (got.length < 3) return fetch('/received', { method: 'POST' });
        source.close();
        done(got.join());
    };
});
const talk = () => new Promise(done => {
    const socket = new WebSocket('ws://' + location.host + '/chat'), got = [];
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => { socket.send('hello'); socket.send(new Uint8Array(65536)); };
    socket.onmessage = event => {
        got.push(event.data.byteLength ?? event.data);
        if (got.length == 2) socket.close(1000);
    };
    socket.onclose = event => done([...got, event.code, event.wasClean].join(' '));
});
(async () => {
    say('style', getComputedStyle(document.body).color);
    await fetch('/cookies');
    say('cookies', document.cookie);
    say('json', (await (await fetch('/data.json')).json()).answer);
    say('post', await (await fetch('/echo', { method: 'POST', body: 'x'.repeat(200000) })).text());
    say('file', (await (await fetch('/gzip/text')).text()).length);
    say('events', await events());
    say('socket', await talk());
})().catch(error => say('error', error)).finally(() => fetch('/finished', { method: 'POST' }));
`;
const texts = {
    '/': ['text/html', page],
    '/style.css': ['text/css', 'body { color: rgb(1, 2, 3) }'],
    '/script.js': ['text/javascript', script],
    '/data.json': ['application/json', '{"answer":"forty-two"}'],
};
const events = ['first', 'second', 'third'];
let listener, held;
const tell = () => listener.write('data: ' + events.shift() + '\n\n');
const actions = {
    '/events': response => {
        response.writeHead(200, { 'Content-Type': 'text/event-stream' });
        listener = response;
        tell();
    },
    '/received': response => { tell(); response.end(); },
    '/held': response => held = response,
    '/finished': response => { held?.writeHead(204).end(); response.end(); },
    '/cookies': response => response.writeHead(200, { 'Set-Cookie': ['a=1', 'b=2'] }).end('set'),
    '/moved': response => response.writeHead(302, { Location: '/data.json' }).end(),
};
const server = http.createServer((request, response) => {
    let count = 0;
    request.on('data', part => count += part.length);
    request.on('end', () => {
        const text = texts[request.url], action = actions[request.url];
        if (action) return action(response);
        const [type, content] = text ?? ['text/plain', request.method + ' ' + count];
        response.writeHead(200, { 'Content-Type': type, 'Content-Length': content.length });
        response.end(content);
    });
});
server.keepAliveTimeout = 60000;
server.listen(process.argv[2], '127.0.0.1');
"#;
