//! Limits and time limits of the protocol (`docs/PROTOCOL.md`, sections 10 and 12).

/// Protocol version on the wire.
pub const VERSION: u8 = 1;
/// Default TCP port of a server.
pub const DEFAULT_PORT: u16 = 12345;

/// Bytes of the header before a handshake message.
pub const HEADER_LEN: usize = 8;
/// Largest handshake message, header included, in bytes. Leaves room for suite 3.
pub const MAX_HANDSHAKE_LEN: usize = 2048;

/// Smallest `max record` that a side may announce, in bytes.
pub const MIN_RECORD: u16 = 1024;
/// Largest bucket of a record, in bytes.
pub const MAX_RECORD: u16 = 16_384;
/// Length prefix of a record on the wire, in bytes.
pub const RECORD_PREFIX: usize = 2;
/// Type and body length at the head of a record's plaintext, in bytes.
pub const INNER_HEAD: usize = 3;
/// Largest tag of any suite, in bytes.
pub const MAX_TAG: usize = 32;
/// What a record adds to its bucket on the wire, at most, in bytes.
pub const RECORD_OVERHEAD: usize = RECORD_PREFIX + MAX_TAG;
/// Records that one key protects.
pub const RECORDS_PER_EPOCH: u64 = 4096;
/// First sequence number that is refused.
pub const SEQUENCE_LIMIT: u64 = 1 << 44;

/// A receive buffer of this many bytes holds any record and any handshake message.
pub const RX_BUFFER: usize = MAX_RECORD as usize + RECORD_OVERHEAD;
/// A send buffer of this many bytes takes any record and keeps room for CLOSE.
pub const TX_BUFFER: usize = MAX_RECORD as usize + RECORD_OVERHEAD + CONTROL_RECORD;
/// Bytes that a control record (CLOSE, PING, PONG) takes on the wire, at most.
pub const CONTROL_RECORD: usize = 64 + RECORD_OVERHEAD;

/// Longest username, in bytes; the shortest has [`MIN_USERNAME`].
pub const MAX_USERNAME: usize = 32;
/// Shortest username, in bytes.
pub const MIN_USERNAME: usize = 3;
/// Longest room name, in bytes.
pub const MAX_ROOM: usize = 32;
/// Longest email address, in bytes.
pub const MAX_EMAIL: usize = 254;
/// Longest password, in bytes.
pub const MAX_PASSWORD: usize = 128;
/// Longest device label, in bytes.
pub const MAX_LABEL: usize = 32;
/// Longest invite code, in bytes.
pub const MAX_INVITE: usize = 32;
/// Longest second-factor code, in bytes.
pub const MAX_CODE: usize = 8;
/// Longest message body, in bytes.
pub const MAX_BODY: usize = 15_360;
/// Longest notice, in bytes.
pub const MAX_NOTICE: usize = 512;
/// Largest POLICY body, in bytes: it fits the smallest record.
pub const MAX_POLICY: usize = 1020;
/// Largest receive window, in messages.
pub const MAX_WINDOW: u16 = 256;
/// SENDs that a client may have unanswered.
pub const MAX_UNANSWERED_SENDS: usize = 32;
/// Requests that a client may have unanswered.
pub const MAX_UNANSWERED_REQUESTS: usize = 16;
/// Body of AUTH, in bytes.
pub const AUTH_LEN: usize = 508;
/// Body of AUTH_RESULT, in bytes.
pub const AUTH_RESULT_LEN: usize = 124;
/// Refused AUTHs after which the server closes.
pub const MAX_AUTH_FAILURES: u8 = 3;
/// Key requests that a server answers on one connection.
pub const MAX_KEY_REQUESTS: u8 = 2;

/// The username of the server's operator.
pub const OPERATOR: &str = "server";

const _: () = assert!(AUTH_LEN + INNER_HEAD + 1 == 512);
const _: () = assert!(AUTH_RESULT_LEN + INNER_HEAD + 1 == 128);
const _: () = assert!(MAX_POLICY + INNER_HEAD + 1 == MIN_RECORD as usize);
const _: () = assert!(RX_BUFFER >= MAX_HANDSHAKE_LEN);
const _: () = assert!(TX_BUFFER >= MAX_HANDSHAKE_LEN);

/// Milliseconds of a monotonic clock that the caller supplies; its zero has no meaning.
pub type Millis = u64;

/// Time limits of one connection, in milliseconds (section 10 of the specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the connection's start to the end of the handshake.
    pub handshake: u32,
    /// From the handshake's end to a successful login; 0 means no limit.
    pub login: u32,
    /// Silence of the peer after which a PING is sent.
    pub ping: u32,
    /// Silence of the peer after which the connection is closed.
    pub idle: u32,
    /// From the handshake's end to CLOSE(expired). Not above [`MAX_LIFETIME`].
    pub lifetime: u32,
}

/// A connection lives 24 hours at most, in milliseconds.
pub const MAX_LIFETIME: u32 = 24 * 3600 * 1000;

impl Timeouts {
    /// What a server uses when not configured otherwise.
    pub const SERVER: Self =
        Self { handshake: 10_000, login: 60_000, ping: 60_000, idle: 150_000, lifetime: MAX_LIFETIME };
    /// What a client uses.
    pub const CLIENT: Self =
        Self { handshake: 10_000, login: 0, ping: 30_000, idle: 90_000, lifetime: MAX_LIFETIME };
}
