//! A server that answers what a test wants, and remembers all that it hears.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use sordino_core::config::HEADER_LEN;

use super::PATIENCE;

/// Type of a key request.
const KEY_REQUEST: u8 = 1;

/// What a connection's client has sent, to its end.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// A listener on loopback; it ends with the process.
pub struct Impostor {
    address: String,
    heard: Heard,
}

impl Impostor {
    /// Answers a key request with these bytes, and everything else with ERROR 3 (unknown key).
    ///
    /// # Panics
    /// Without a port.
    #[must_use]
    pub fn answering(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let heard = Heard::default();
        let ours = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let said = converse(stream, &answer);
                ours.lock().unwrap_or_else(PoisonError::into_inner).push(said);
            }
        });
        Self { address, heard }
    }

    /// `IP:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What each connection that has ended said. One connection is served at a time: its client waits for the next.
    #[must_use]
    pub fn heard(&self, connections: usize) -> Vec<Vec<u8>> {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if heard.len() >= connections || std::time::Instant::now() > deadline {
                return heard;
            }
            thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn converse(mut stream: TcpStream, answer: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    let mut answered = false;
    let mut chunk = [0; 4096];
    // A client may leave with a reset.
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        said.extend_from_slice(&chunk[..count]);
        if !answered && let Some(header) = whole(&said) {
            let refused = [b'S', b'O', 1, 6, header[4], 0, 0, 1, 3];
            let _ = stream.write_all(if header[3] == KEY_REQUEST { answer } else { &refused });
            answered = true;
        }
    }
    said
}

/// The header of a message that has come whole.
fn whole(said: &[u8]) -> Option<&[u8; HEADER_LEN]> {
    let header = said.first_chunk::<HEADER_LEN>()?;
    let length = usize::from(u16::from_be_bytes([header[6], header[7]]));
    (said.len() >= HEADER_LEN + length).then_some(header)
}
