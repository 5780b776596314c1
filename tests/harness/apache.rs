//! A real Apache httpd as an origin that says what it saw.

use std::net::SocketAddr;
use std::process::Command;

use crate::server::{Server, write};

impl Server {
    /// An Apache httpd that answers everything with a 403 or 404 whose
    /// field `X-Seen` is the request line.
    /// It logs `-` where there was none.
    #[track_caller]
    pub fn apache() -> Self {
        Server::start("Apache httpd", |address, folder| {
            write(folder, "httpd.conf", &configuration(address));
            let mut command = Command::new("apache2");
            command.args(["-D", "FOREGROUND", "-f", "httpd.conf", "-d"]).arg(folder);
            command
        })
    }
}

fn configuration(address: SocketAddr) -> String {
    format!(
        "ServerName test
Listen {address}
PidFile httpd.pid
ErrorLog errors
Mutex posixsem
# It refuses to serve as root; whoever else starts it stays who they are.
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
StartServers 1
ServerLimit 1
ThreadsPerChild 16
MaxRequestWorkers 16
TraceEnable off
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
LogFormat \"%r\" line
CustomLog access line
DocumentRoot .
Header always set X-Seen \"expr=%{{THE_REQUEST}}\"
"
    )
}
