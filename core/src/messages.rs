//! The one table of messages, and their bodies (`docs/PROTOCOL.md`, sections 7 to 9).

use crate::config::{AUTH_LEN, AUTH_RESULT_LEN, MAX_BODY, MAX_NOTICE, MAX_WINDOW};
use crate::config::{MAX_CODE, MAX_EMAIL, MAX_INVITE, MAX_LABEL, MAX_PASSWORD, MAX_USERNAME};
use crate::name::{RoomName, Target, Username};
use crate::record::Direction;
use crate::wire::{Field, List, Malformed, Overflow, Reader, Text, Writer};

/// When a message is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// After the handshake, before a successful login.
    Login,
    /// After a successful login.
    Ready,
}

/// Random identifier that the sender gives to a message.
pub type MessageId = [u8; 16];

macro_rules! messages {
    ($($number:literal $name:ident ( $($body:tt)+ ) $direction:ident $phase:ident;)+) => {
        /// A message, borrowed from the record that carries it.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub enum Message<'a> {
            $(
                #[doc = concat!("Type ", $number, ".")]
                $name($($body)+),
            )+
        }

        impl<'a> Message<'a> {
            /// Number of the type.
            pub const fn kind(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $number,)+
                }
            }

            /// Writes the body.
            ///
            /// # Errors
            /// [`Overflow`].
            pub fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
                match self {
                    $(Self::$name(body) => body.encode(out),)+
                }
            }

            /// Reads the body of a message of type `kind`; all of it must be used.
            ///
            /// # Errors
            /// [`Malformed`], also for an unknown type.
            pub fn decode(kind: u8, body: &'a [u8]) -> Result<Self, Malformed> {
                let mut input = Reader::new(body);
                let message = match kind {
                    $($number => Self::$name(Field::decode(&mut input)?),)+
                    _ => return Err(Malformed),
                };
                input.finish()?;
                Ok(message)
            }
        }

        /// Whether a message of type `kind` may travel in this direction and phase.
        pub const fn allowed(kind: u8, direction: Direction, phase: Phase) -> bool {
            match kind {
                $($number => direction!($direction, direction) && phase!($phase, phase),)+
                _ => false,
            }
        }
    };
}

macro_rules! direction {
    (Both, $d:ident) => {
        true
    };
    (ToServer, $d:ident) => {
        matches!($d, Direction::ToServer)
    };
    (ToClient, $d:ident) => {
        matches!($d, Direction::ToClient)
    };
}

macro_rules! phase {
    (Any, $p:ident) => {
        true
    };
    ($only:ident, $p:ident) => {
        matches!($p, Phase::$only)
    };
}

messages! {
     1 Close(Close)                Both     Any;
     2 Ping(Ping)                  Both     Any;
     3 Pong(Ping)                  Both     Any;
    16 Auth(Auth<'a>)              ToServer Login;
    17 AuthResult(AuthResult<'a>)  ToClient Login;
    18 GetPolicy(())               ToServer Any;
    19 Policy(Policy<'a>)          ToClient Any;
    20 Notice(Notice<'a>)          ToClient Any;
    32 Send(Send<'a>)              ToServer Ready;
    33 Accepted(Accepted)          ToClient Ready;
    34 Refused(Refused)            ToClient Ready;
    35 Delivered(Delivered)        ToClient Ready;
    36 Receive(Receive)            ToServer Ready;
    37 Deliver(Deliver<'a>)        ToClient Ready;
    38 Ack(Ack)                    ToServer Ready;
    48 Join(RoomRequest<'a>)       ToServer Ready;
    49 Leave(RoomRequest<'a>)      ToServer Ready;
    50 Done(Done)                  ToClient Ready;
    51 ListRooms(ListRequest<'a>)  ToServer Ready;
    52 Rooms(Page<'a, RoomEntry<'a>>) ToClient Ready;
    53 ListMembers(ListMembers<'a>) ToServer Ready;
    54 Who(ListRequest<'a>)        ToServer Ready;
    55 Users(Page<'a, UserEntry<'a>>) ToClient Ready;
    56 RoomEvent(RoomEvent<'a>)    ToClient Ready;
}

/// Declares bodies whose fields stand one after the other. `where` adds a condition for decoding.
macro_rules! bodies {
    ($(
        $(#[$doc:meta])*
        struct $name:ident $(<$lt:lifetime $(, $t:ident)?>)? {
            $( $(#[$fdoc:meta])* $field:ident: $type:ty, )+
        } $(where $check:expr;)?
    )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name $(<$lt $(, $t: Field<$lt> + Clone + PartialEq)?>)? {
            $( $(#[$fdoc])* pub $field: $type, )+
        }

        impl<'a $($(, $t: Field<'a> + Clone + PartialEq)?)?> Field<'a> for $name $(<$lt $(, $t)?>)? {
            fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
                $(self.$field.encode(out)?;)+
                Ok(())
            }

            fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
                let body = Self { $($field: Field::decode(input)?,)+ };
                $(
                    let check: fn(&Self) -> bool = $check;
                    if !check(&body) {
                        return Err(Malformed);
                    }
                )?
                Ok(body)
            }
        }
    )+};
}

bodies! {
    /// The last record of a direction.
    struct Close {
        /// Why.
        reason: CloseReason,
        /// Records that the sender accepted from its peer on this connection.
        received: u64,
    }

    /// PING, and PONG that answers it.
    struct Ping {
        /// Comes back in the answer.
        token: u64,
    }

    /// What the server wants people to know before they register.
    struct Policy<'a> {
        /// Who may register.
        registration: Registration,
        /// Shortest username, in characters.
        username_min: u8,
        /// Longest username, in characters.
        username_max: u8,
        /// Shortest password, in characters.
        password_min: u8,
        /// Lowest zxcvbn score, 0 to 4.
        password_score: u8,
        /// Largest message body, in bytes.
        max_body: u16,
        /// The server's name, for people.
        server_name: &'a str,
        /// The server's rules, for people.
        rules: Text<'a>,
        /// Allowed email domains; none means any.
        domains: List<'a, &'a str>,
    }

    /// A line from the server for the person.
    struct Notice<'a> {
        /// How serious.
        level: NoticeLevel,
        /// At most 512 bytes.
        text: Text<'a>,
    } where |n| n.text.0.len() <= MAX_NOTICE;

    /// A message on its way to the server.
    struct Send<'a> {
        /// Chosen by the sender.
        id: MessageId,
        /// To whom.
        target: Target<'a>,
        /// What the body is: 0 = UTF-8 text.
        format: u8,
        /// 1 to 15,360 bytes, opaque to the server, which refuses other sizes.
        body: &'a [u8],
    }

    /// The message is durable on the server.
    struct Accepted {
        /// Which message.
        id: MessageId,
        /// Its place in the server's order.
        number: u64,
        /// Unix time in milliseconds.
        time: u64,
    }

    /// The message was not taken.
    struct Refused {
        /// Which message.
        id: MessageId,
        /// Why.
        code: Code,
        /// Seconds to wait, or 0.
        retry_after: u32,
    }

    /// A device of the recipient has acknowledged the message.
    struct Delivered {
        /// Which message.
        id: MessageId,
        /// Unix time in milliseconds.
        time: u64,
    }

    /// The client is ready for deliveries.
    struct Receive {
        /// Messages that may be unacknowledged at once, at most 256; 0 stops.
        window: u16,
    } where |r| r.window <= MAX_WINDOW;

    /// A message for this device, or a part of it.
    struct Deliver<'a> {
        /// The message's place in the server's order.
        number: u64,
        /// Chosen by the sender.
        id: MessageId,
        /// Unix time in milliseconds at which the server accepted it.
        time: u64,
        /// Who sent it.
        sender: Username<'a>,
        /// To whom.
        target: Target<'a>,
        /// What the body is: 0 = UTF-8 text.
        format: u8,
        /// Length of the whole body, in bytes.
        total: u16,
        /// Where in the body this part begins.
        offset: u16,
        /// The part.
        part: &'a [u8],
    } where Deliver::is_well_formed;

    /// Acknowledges every message up to and including a number.
    struct Ack {
        /// The number.
        number: u64,
    }

    /// JOIN and LEAVE.
    struct RoomRequest<'a> {
        /// Comes back in the answer.
        tag: u32,
        /// Which room.
        room: RoomName<'a>,
    }

    /// How a request ended.
    struct Done {
        /// The request's tag.
        tag: u32,
        /// Its result.
        code: Code,
        /// Seconds to wait, or 0.
        retry_after: u32,
    }

    /// LIST_ROOMS and WHO.
    struct ListRequest<'a> {
        /// Comes back in the answer.
        tag: u32,
        /// The page begins behind this name; empty: at the start.
        after: &'a str,
    }

    /// LIST_MEMBERS.
    struct ListMembers<'a> {
        /// Comes back in the answer.
        tag: u32,
        /// Whose members.
        room: RoomName<'a>,
        /// The page begins behind this name; empty: at the start.
        after: &'a str,
    }

    /// A page of a list.
    struct Page<'a, T> {
        /// The request's tag.
        tag: u32,
        /// Whether another request gets more.
        more: bool,
        /// In ascending byte order of the names.
        items: List<'a, T>,
    }

    /// A room in a list.
    struct RoomEntry<'a> {
        /// Its name.
        room: RoomName<'a>,
        /// How many members it has.
        members: u16,
        /// Whether the asking user is one of them.
        joined: bool,
    }

    /// A user in a list.
    struct UserEntry<'a> {
        /// The name.
        user: Username<'a>,
        /// Whether a device of the user is connected.
        online: bool,
    }

    /// Somebody came or went.
    struct RoomEvent<'a> {
        /// What happened.
        event: RoomEventKind,
        /// Where.
        room: RoomName<'a>,
        /// Who.
        user: Username<'a>,
    }
}

impl Deliver<'_> {
    /// The part lies within the body, is not empty, and the body has a legal size.
    fn is_well_formed(&self) -> bool {
        let end = usize::from(self.offset).saturating_add(self.part.len());
        let total = usize::from(self.total);
        (1..=MAX_BODY).contains(&total) && !self.part.is_empty() && end <= total
    }
}

impl Field<'_> for () {
    fn encode(&self, _: &mut Writer<'_>) -> Result<(), Overflow> {
        Ok(())
    }

    fn decode(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

/// Declares enums of one byte.
macro_rules! codes {
    ($( $(#[$doc:meta])* $name:ident { $( $(#[$vdoc:meta])* $variant:ident = $number:literal, )+ } )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum $name { $( $(#[$vdoc])* $variant = $number, )+ }

        impl $name {
            /// The value with this number.
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl Field<'_> for $name {
            fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
                (*self as u8).encode(out)
            }

            fn decode(input: &mut Reader<'_>) -> Result<Self, Malformed> {
                Self::from_u8(u8::decode(input)?).ok_or(Malformed)
            }
        }
    )+};
}

codes! {
    /// Why a connection is closed.
    CloseReason {
        /// A goodbye.
        Bye = 1,
        /// The connection's 24 hours are over: reconnect.
        Expired = 2,
        /// The server shuts down.
        ShuttingDown = 3,
        /// The peer broke the protocol.
        Protocol = 4,
        /// Too many refused logins.
        AuthFailed = 5,
        /// A newer connection of the same device receives.
        Replaced = 6,
        /// The peer was silent, or did not log in.
        Timeout = 7,
        /// Removed by the operator.
        Revoked = 8,
        /// The server is overloaded.
        Overloaded = 9,
    }

    /// Who may register.
    Registration {
        /// Nobody.
        Closed = 0,
        /// Everybody.
        Open = 1,
    }

    /// How serious a notice is.
    NoticeLevel {
        /// For information.
        Info = 0,
        /// Something is wrong.
        Warning = 1,
    }

    /// How a message or request ended.
    Code {
        /// Done.
        Ok = 0,
        /// No such user or room.
        NotFound = 1,
        /// Join the room first.
        NotMember = 2,
        /// The recipient's mailbox is full.
        MailboxFull = 3,
        /// Too fast: wait.
        RateLimited = 4,
        /// Larger than the server's policy allows.
        TooLarge = 5,
        /// The room takes no more members.
        RoomFull = 6,
        /// The policy does not allow it.
        NotAllowed = 7,
        /// The server can't store now: try again.
        Unavailable = 8,
        /// The account or the server has too many rooms.
        TooManyRooms = 9,
    }

    /// How to authenticate.
    AuthMethod {
        /// Make a new account and bind the device key to it.
        Register = 1,
        /// Bind the device key to an account by its password.
        Password = 2,
        /// The device key is bound already.
        Device = 3,
    }

    /// Result of an AUTH.
    AuthCode {
        /// Logged in.
        Ok = 0,
        /// One answer for unknown user, wrong password, disabled account, unknown device.
        Denied = 1,
        /// Too many attempts: wait.
        RateLimited = 2,
        /// Nobody may register.
        RegistrationClosed = 3,
        /// Somebody else has the username.
        UsernameTaken = 4,
        /// The username is malformed or not allowed.
        UsernameNotAllowed = 5,
        /// The password is too weak for the policy.
        PasswordTooWeak = 6,
        /// Not an address, or not of an allowed domain.
        EmailNotAllowed = 7,
        /// The account has too many devices.
        TooManyDevices = 8,
        /// The server is busy or can't store: try again.
        Unavailable = 9,
        /// Reserved: an invite is needed.
        InviteNeeded = 10,
    }

    /// What happened in a room.
    RoomEventKind {
        /// Somebody joined.
        Joined = 1,
        /// Somebody left.
        Left = 2,
    }
}

/// AUTH: credentials. Always 508 bytes on the wire.
#[derive(Clone, Copy, PartialEq)]
pub struct Auth<'a> {
    /// How.
    pub method: AuthMethod,
    /// At most 32 bytes, as typed; the server folds and checks it.
    pub username: &'a str,
    /// At most 254 bytes.
    pub email: &'a str,
    /// At most 128 bytes.
    pub password: &'a str,
    /// Reserved, at most 32 bytes.
    pub invite: &'a str,
    /// Reserved for the second factor, at most 8 bytes.
    pub code: &'a str,
    /// Name of the device for its owner, at most 32 bytes.
    pub label: &'a str,
}

impl<'a> Auth<'a> {
    /// Login by the device key that the handshake has proven.
    pub const DEVICE: Self = Self {
        method: AuthMethod::Device,
        username: "",
        email: "",
        password: "",
        invite: "",
        code: "",
        label: "",
    };

    const fn texts(&self) -> [(&'a str, usize); 6] {
        [
            (self.username, MAX_USERNAME),
            (self.email, MAX_EMAIL),
            (self.password, MAX_PASSWORD),
            (self.invite, MAX_INVITE),
            (self.code, MAX_CODE),
            (self.label, MAX_LABEL),
        ]
    }
}

impl core::fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Auth")
            .field("method", &self.method)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl<'a> Field<'a> for Auth<'a> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        let end = out.written().saturating_add(AUTH_LEN);
        self.method.encode(out)?;
        for (text, max) in self.texts() {
            if text.len() > max {
                return Err(Overflow);
            }
            text.encode(out)?;
        }
        out.pad_to(end)
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut body = Reader::new(input.take(AUTH_LEN)?);
        let auth = Self {
            method: Field::decode(&mut body)?,
            username: Field::decode(&mut body)?,
            email: Field::decode(&mut body)?,
            password: Field::decode(&mut body)?,
            invite: Field::decode(&mut body)?,
            code: Field::decode(&mut body)?,
            label: Field::decode(&mut body)?,
        };
        body.finish_zeros()?;
        let fits = auth.texts().iter().all(|(text, max)| text.len() <= *max);
        if fits { Ok(auth) } else { Err(Malformed) }
    }
}

/// AUTH_RESULT. Always 124 bytes on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AuthResult<'a> {
    /// The result; the other fields are zero and empty unless it is [`AuthCode::Ok`].
    pub code: AuthCode,
    /// Seconds to wait; only with [`AuthCode::RateLimited`] and [`AuthCode::Unavailable`].
    pub retry_after: u32,
    /// The server's number for this device.
    pub device: u64,
    /// Messages that wait for this device.
    pub pending: u32,
    /// The account, in canonical form.
    pub username: &'a str,
}

impl AuthResult<'_> {
    /// A refusal: `code` must not be [`AuthCode::Ok`].
    pub const fn refusal(code: AuthCode, retry_after: u32) -> Self {
        Self { code, retry_after, device: 0, pending: 0, username: "" }
    }

    /// Success has a username, a refusal nothing.
    fn is_consistent(&self) -> bool {
        match self.code {
            AuthCode::Ok => Username::new(self.username).is_some(),
            _ => self.device == 0 && self.pending == 0 && self.username.is_empty(),
        }
    }
}

impl<'a> Field<'a> for AuthResult<'a> {
    fn encode(&self, out: &mut Writer<'_>) -> Result<(), Overflow> {
        let end = out.written().saturating_add(AUTH_RESULT_LEN);
        self.code.encode(out)?;
        self.retry_after.encode(out)?;
        self.device.encode(out)?;
        self.pending.encode(out)?;
        self.username.encode(out)?;
        out.pad_to(end)
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let mut body = Reader::new(input.take(AUTH_RESULT_LEN)?);
        let result = Self {
            code: Field::decode(&mut body)?,
            retry_after: Field::decode(&mut body)?,
            device: Field::decode(&mut body)?,
            pending: Field::decode(&mut body)?,
            username: Field::decode(&mut body)?,
        };
        body.finish_zeros()?;
        if result.is_consistent() { Ok(result) } else { Err(Malformed) }
    }
}
