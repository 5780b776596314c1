//! A real nginx as an origin.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::command::{create, text, wait};
use crate::origin::Origin;
use crate::{PATIENCE, until};

/// Times that another port is tried when somebody took the chosen one first.
const ATTEMPTS_MAX: usize = 5;

/// An nginx with one worker, in a folder of its own.
pub struct Nginx {
    process: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Nginx {
    /// Starts one that serves the files of [`Nginx::write`] and these; `X-Seen` of each answer is the
    /// request line:
    ///
    /// | target          | answer                                                            |
    /// |-----------------|-------------------------------------------------------------------|
    /// | `/echo`         | method, target and some fields that came, as text                 |
    /// | `/status/NNN`   | that status, of a few                                             |
    /// | `/upload`       | stores the body of a PUT as the file `/files/upload`              |
    /// | `/files/...`    | the file                                                          |
    /// | `/gzip/...`     | the file, compressed on the way and so chunked                    |
    /// | `/shy/...`      | the same, but by default not for requests that came by a proxy    |
    #[track_caller]
    pub fn start() -> Self {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(nginx) = Self::try_start(Origin::nowhere()) {
                return nginx;
            }
        }
        panic!("nginx does not start: is it installed, with its default modules?");
    }

    fn try_start(address: SocketAddr) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("nginx-").tempdir().expect("a folder");
        let path = folder.path();
        fs::create_dir(path.join("files")).expect("a folder for files");
        fs::write(path.join("nginx.conf"), configuration(address)).expect("a configuration");
        let process = Command::new("nginx")
            .arg("-p")
            .arg(path)
            .args(["-c", "nginx.conf", "-e", "errors"])
            .stdin(Stdio::null())
            .stdout(create(&path.join("stdout")))
            .stderr(create(&path.join("stderr")))
            .spawn()
            .expect("nginx is installed");
        let mut nginx = Nginx { process, address, folder };
        let answers = until("nginx answers", || match nginx.process.try_wait() {
            Ok(Some(_)) => Some(false),
            _ => TcpStream::connect(address).ok().map(|_| true),
        });
        if !answers {
            eprintln!("{}", text(&nginx.folder.path().join("errors")));
        }
        answers.then_some(nginx)
    }

    /// Kills its master and its worker at once, in whatever they are doing.
    pub fn kill(mut self) {
        let master = self.process.id();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"));
        // The master first, so that it starts no other worker.
        let _ = self.process.kill();
        let _ = self.process.wait();
        for child in children.unwrap_or_default().split_whitespace() {
            let child = child.parse().expect("a pid");
            // It was there a moment ago, and nobody has waited for it.
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a file for `/files/NAME` and `/gzip/NAME`.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.folder.path().join("files").join(name), content).expect("a file");
    }

    /// Content of such a file.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.path().join("files").join(name)).unwrap_or_default()
    }

    /// Connections that it accepted for requests and requests that it served, from its access log.
    pub fn access_log(&self) -> Vec<String> {
        text(&self.folder.path().join("access")).lines().map(str::to_owned).collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).expect("a pid fits");
        if matches!(self.process.try_wait(), Ok(None)) {
            // A fast stop, which takes its worker along; SIGKILL would leave that behind.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            wait(&mut self.process, PATIENCE);
        }
    }
}

fn configuration(address: SocketAddr) -> String {
    let statuses: String = [204, 301, 304, 400, 403, 404, 418, 500, 503]
        .map(|status| format!("location = /status/{status} {{ return {status}; }}\n"))
        .concat();
    let echo = "$request_method $request_uri $server_protocol host=$http_host \
         connection=$http_connection x-user-id=$http_x_user_id forwarded=$http_x_forwarded_for \
         te=$http_transfer_encoding";
    format!(
        "daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log errors;
events {{ worker_connections 2048; }}
http {{
    log_format exchanges '$connection $request $status';
    access_log access exchanges;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    client_max_body_size 0;
    keepalive_requests 1000000;
    default_type text/plain;
    server {{
        listen {address} backlog=4096;
        root .;
        add_header X-Seen \"$request\" always;
        location = /echo {{ return 200 '{echo}\\n'; }}
        location = /upload {{ rewrite ^ /files/upload last; }}
        location /files/ {{ dav_methods PUT DELETE; }}
        location /gzip/ {{
            rewrite ^/gzip/(.*) /files/$1 break;
            gzip on;
            gzip_types *;
            gzip_proxied any;
            gzip_min_length 1;
        }}
        location /shy/ {{
            rewrite ^/shy/(.*) /files/$1 break;
            gzip on;
            gzip_types *;
            gzip_min_length 1;
        }}
        {statuses}
    }}
}}
"
    )
}
