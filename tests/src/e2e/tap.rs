//! A man in the middle who only listens.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// A way to a server, on which everything that clients send is kept. It ends with the process.
pub struct Tap {
    address: String,
    heard: Heard,
}

impl Tap {
    /// Leads to this address.
    ///
    /// # Panics
    /// Without a port.
    #[must_use]
    pub fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let heard = Heard::default();
        let (ours, server) = (Arc::clone(&heard), server.to_owned());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else { return };
                let said = Arc::clone(&ours);
                let number = lock(&said).len();
                lock(&said).push(Vec::new());
                let (from, to) = (client.try_clone(), server.try_clone());
                let keep = move |bytes: &[u8]| lock(&said)[number].extend_from_slice(bytes);
                thread::spawn(move || carry(client, server, keep));
                if let (Ok(to), Ok(from)) = (from, to) {
                    thread::spawn(move || carry(from, to, |_| {}));
                }
            }
        });
        Self { address, heard }
    }

    /// `IP:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What each connection's client has sent so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Vec<u8>> {
        lock(&self.heard).clone()
    }
}

fn lock(heard: &Heard) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

fn carry(mut from: TcpStream, mut to: TcpStream, keep: impl Fn(&[u8])) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        keep(&chunk[..count]);
        if to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    // The other direction ends when its own side does.
    let _ = to.shutdown(Shutdown::Write);
}
