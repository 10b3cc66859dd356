//! What the boards' firmware has over embassy.

mod bench;

use bench::{leak, with_board, with_cable};
use embassy_futures::join::join;
use embassy_net::Stack;
use embassy_net::tcp::{Error, TcpSocket};
use embassy_time::{Duration, Timer, with_timeout};
use sordino_embedded::Connect;
use sordino_firmware_common::embassy::{Output, SocketMemory, Sockets, mac_address};
use std::future::pending;

const PORT: u16 = 7;

fn server_socket(stack: Stack<'static>) -> TcpSocket<'static> {
    TcpSocket::new(stack, leak([0; 512]), leak([0; 512]))
}

async fn echo_once(socket: &mut TcpSocket<'static>) {
    let mut byte = [0];
    socket.accept(PORT).await.expect("accepts");
    assert_eq!(socket.read(&mut byte).await, Ok(1));
    assert_eq!(socket.write(&byte).await, Ok(1));
}

async fn ask(sockets: &mut Sockets<'static>, byte: u8) {
    let (mut reader, mut writer) = sockets.connect("10.0.0.2", PORT).await.expect("connects");
    assert_eq!(writer.write(&[byte]).await, Ok(1));
    let mut answer = [0];
    assert_eq!(reader.read(&mut answer).await, Ok(1));
    assert_eq!(answer, [byte]);
}

#[test]
fn the_next_connection_ends_the_one_before() {
    with_cable(|board, server| async move {
        let mut sockets = Sockets::new(board, leak(SocketMemory::new()));
        let (mut first, mut second) = (server_socket(server), server_socket(server));
        join(ask(&mut sockets, 1), echo_once(&mut first)).await;
        // Everything is acknowledged: nothing else would tell the server.
        Timer::after_secs(1).await;
        join(ask(&mut sockets, 2), echo_once(&mut second)).await;
        assert_eq!(first.read(&mut [0]).await, Err(Error::ConnectionReset));
    });
}

/// Not even its end could be sent: nobody answers for the address.
#[test]
fn an_address_that_nobody_has_does_not_hold_up_the_next() {
    with_cable(|board, server| async move {
        let mut sockets = Sockets::new(board, leak(SocketMemory::new()));
        let hopeless = with_timeout(Duration::from_secs(2), sockets.connect("10.0.0.99", PORT)).await;
        assert!(hopeless.is_err());
        join(ask(&mut sockets, 1), echo_once(&mut server_socket(server))).await;
    });
}

#[test]
fn a_name_without_a_name_server_is_an_error() {
    with_cable(|board, _| async move {
        let mut sockets = Sockets::new(board, leak(SocketMemory::new()));
        assert!(sockets.connect("chat.example.org", PORT).await.is_err());
    });
}

#[test]
fn a_terminal_that_nobody_reads_holds_up_nothing() {
    let output = Output::new();
    assert!((0..100).any(|_| output.write(&"x".repeat(100)).is_err()));
}

#[test]
fn chips_have_addresses_of_their_own() {
    let addresses = [mac_address(&[1, 2]), mac_address(&[2, 1]), mac_address(&[1, 3])];
    assert!(addresses.iter().all(|mac| mac[0] == 0x02), "locally administered, one station");
    assert!(addresses[0] != addresses[1] && addresses[0] != addresses[2] && addresses[1] != addresses[2]);
}

#[test]
fn the_console_echoes_and_answers() {
    with_board(pending_server, |terminal| {
        for line in ["statuz\x7fs", "fingerprint", "send @alice hello", "status"] {
            terminal.type_line(line);
        }
        terminal.wait("1 waiting");
        let expected = [
            "statuz\x08 \x08s\r\nnot enrolled: enroll CODE\r\noffline, 0 waiting, 0 dropped, LED 0\r\n",
            "fingerprint\r\nno key yet: enroll CODE\r\n",
            "send @alice hello\r\nmessage 0 queued\r\n",
            "status\r\nnot enrolled: enroll CODE\r\noffline, 1 waiting",
        ];
        let shown = terminal.shown();
        assert!(shown.starts_with(&expected.concat()), "{shown:?}");
    });
}

async fn pending_server(_: Stack<'static>) {
    pending().await
}
