//! A real Node.js as an origin that says what it saw.

use std::process::Command;

use crate::server::{Server, write};

impl Server {
    /// A Node.js that answers everything with a 200 whose field `X-Seen` is the request line. It logs
    /// `bad` where it could not read one.
    #[track_caller]
    pub fn node() -> Self {
        Server::node_running(SERVER)
    }

    /// One that runs another program, which is given the port to listen on as its argument.
    #[track_caller]
    pub fn node_running(program: &str) -> Self {
        Server::start("Node.js", |address, folder| {
            write(folder, "server.js", program);
            let mut command = Command::new("node");
            command.arg("server.js").arg(address.port().to_string());
            command
        })
    }
}

const SERVER: &str = r#"
const fs = require('fs'), http = require('http');
const log = line => fs.writeSync(1, line + '\n');
// As large as Kiln's own: one that it closes on without an answer is sent to it twice.
const server = http.createServer({ maxHeaderSize: 128 << 10 }, (request, response) => {
    const line = `${request.method} ${request.url} HTTP/${request.httpVersion}`;
    log(line);
    request.resume();
    request.on('end', () => {
        response.setHeader('X-Seen', Buffer.from(line).toString('latin1'));
        response.end('ok');
    });
});
server.on('clientError', (error, socket) => {
    // A peer that goes away is no malformed request.
    if (error.code !== 'ECONNRESET' && error.code !== 'HPE_INVALID_EOF_STATE') log('bad ' + error.code);
    socket.destroy();
});
server.keepAliveTimeout = 60000;
server.listen(process.argv[2], '127.0.0.1');
"#;
