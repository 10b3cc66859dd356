//! A board against the real server and client: enrolment, messages both ways, a connection that breaks, a reset.
//!
//! `BIN` names the directory of `sordino` and `sordino-server`.

mod bench;

use bench::{Terminal, leak, with_board};
use embassy_futures::select::select3;
use embassy_net::Stack;
use embassy_net::tcp::{TcpReader, TcpSocket, TcpWriter};
use embassy_time::Timer;
use embedded_io_async::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const PASSWORD: &str = "correct horse battery staple 9\n";

fn command(name: &str) -> Command {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../target/debug");
    let bin = std::env::var_os("BIN").map_or(target, PathBuf::from);
    Command::new(bin.join(name))
}

struct Server {
    process: Child,
    port: u16,
    fingerprint: String,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let mut process = command("sordino-server")
            .args(["--listen", "127.0.0.1:0", "--json", "--data-dir"])
            .arg(directory.join("server"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("BIN has the server");
        let mut line = String::new();
        let output = process.stdout.take().expect("is piped");
        BufReader::new(output).read_line(&mut line).expect("it tells where it listens");
        let port = field(&line, "listen").rsplit(':').next().and_then(|port| port.parse().ok());
        Self { process, port: port.expect("a port"), fingerprint: field(&line, "fingerprint") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

/// A string of a flat JSON object.
fn field(json: &str, name: &str) -> String {
    let (_, rest) = json.split_once(&format!("\"{name}\":\"")).unwrap_or_else(|| panic!("{name} in {json}"));
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// alice's client; what the command printed.
fn alice(directory: &Path, arguments: &[&str]) -> String {
    let home = directory.join("alice");
    let output =
        command("sordino").arg("--home").arg(home).args(arguments).output().expect("BIN has the client");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Carries connections from the board's cable to the server on loopback, until they are cut.
async fn gateway(stack: Stack<'static>, port: u16, cut: Arc<AtomicBool>) {
    let mut socket = TcpSocket::new(stack, leak([0; 4096]), leak([0; 4096]));
    while socket.accept(port).await.is_ok() {
        let server = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        server.set_nonblocking(true).expect("sockets can do that");
        let (reader, writer) = socket.split();
        let scissors = async {
            while !cut.swap(false, Ordering::Relaxed) {
                Timer::after_millis(10).await;
            }
        };
        select3(up(reader, &server), down(writer, &server), scissors).await;
        socket.abort();
        let _reset = socket.flush().await;
    }
}

async fn up(mut reader: TcpReader<'_>, mut server: &TcpStream) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = reader.read(&mut bytes).await {
        if server.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

async fn down(mut writer: TcpWriter<'_>, mut server: &TcpStream) {
    let mut bytes = [0; 1024];
    loop {
        match server.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Timer::after_millis(2).await,
            Ok(count @ 1..) if writer.write_all(&bytes[..count]).await.is_ok() => {}
            _ => return,
        }
    }
}

#[test]
fn a_board_is_enrolled_obeys_and_comes_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let port = server.port;
    let cut = Arc::new(AtomicBool::new(false));
    let scissors = cut.clone();
    with_board(
        |stack| gateway(stack, port, cut),
        move |terminal| {
            let directory = directory.path();
            register(directory, &server);
            // The board sees the server behind the cable.
            let code = alice(directory, &["boards", "enrol", "greenhouse", "--no-qr"]);
            enrol(terminal, &code.trim().replace("127.0.0.1", "10.0.0.2"));
            assert!(alice(directory, &["boards", "list", "--json"]).contains(r#""proven":true"#));
            obey(terminal, directory);
            scissors.store(true, Ordering::Relaxed);
            terminal.wait("offline: ");
            terminal.type_line("send @alice after the cut");
            terminal.wait("message 2 accepted");
            assert!(alice(directory, &["recv", "--json", "--timeout", "3"]).contains("after the cut"));
        },
    );
}

fn register(directory: &Path, server: &Server) {
    let password = directory.join("password");
    std::fs::write(&password, PASSWORD).expect("writes");
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
    let (address, password) = (format!("127.0.0.1:{}", server.port), password.display().to_string());
    let of_server = ["register", "--server", &address, "--fingerprint", &server.fingerprint];
    let of_alice = ["--user", "alice", "--email", "alice@example.org", "--password-file", &password];
    alice(directory, &[&of_server[..], &of_alice].concat());
}

fn enrol(terminal: &Terminal, code: &str) {
    terminal.type_line("report 0");
    terminal.type_line(&format!("enroll {code}"));
    terminal.wait("enrolled by @alice");
}

fn obey(terminal: &Terminal, directory: &Path) {
    alice(directory, &["rooms", "join", "#sensors"]);
    alice(directory, &["send", "@greenhouse", "led on"]);
    terminal.wait("message 0 accepted");
    assert!(terminal.led.load(Ordering::Relaxed), "{}", terminal.shown());
    terminal.type_line("report 3600");
    terminal.wait("message 1 accepted");
    let received = alice(directory, &["recv", "--json", "--timeout", "3"]);
    assert!(received.contains("the LED is on") && received.contains("-0.5 °C"), "{received}");
}
