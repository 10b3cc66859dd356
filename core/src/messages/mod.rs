//! The one table of messages, and their bodies (`docs/PROTOCOL.md`, sections 7 to 9).

mod auth;
mod codes;

pub use auth::{Auth, AuthResult};
pub use codes::{
    AuthCode, AuthMethod, BoardState, CloseReason, Code, NoticeLevel, Registration, RoomEventKind,
};

use crate::config::{MAX_BODY, MAX_NOTICE, MAX_POLICY, MAX_WINDOW};
use crate::name::{RoomName, Target, Username};
use crate::record::Direction;
use crate::wire::{Field, List, Malformed, Opaque, Overflow, Reader, Text, Writer};

/// When a message is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// After the handshake, before a successful login.
    Login,
    /// After a successful login.
    Ready,
}

/// Type of a record that holds several messages, each with its type and length before its body, as the inner plaintext
/// of a record has them. In no table, since applications never see one: its messages come one after the other.
pub const BUNDLE: u8 = 4;

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
                self.encode_on_way(out, None)
            }

            /// Writes the body of a message that may travel in a direction, else [`Overflow`].
            #[inline(always)]
            pub(crate) fn encode_on_way(
                &self,
                out: &mut Writer<'_>,
                way: Option<Direction>,
            ) -> Result<(), Overflow> {
                match self {
                    $(Self::$name(body) if way.is_none_or(|way| direction!($direction, way)) => {
                        body.encode(out)
                    })+
                    _ => Err(Overflow),
                }
            }

            /// Reads the body of a message of type `kind`; all of it must be used.
            ///
            /// # Errors
            /// [`Malformed`], also for an unknown type.
            pub fn decode(kind: u8, body: &'a [u8]) -> Result<Self, Malformed> {
                Self::decode_on_way(kind, body, None)
            }

            /// Reads the body of a message that may travel in a direction. With a constant direction the code for
            /// all others is left out: 2 KB of a board's flash.
            #[inline(always)]
            pub(crate) fn decode_on_way(
                kind: u8,
                body: &'a [u8],
                way: Option<Direction>,
            ) -> Result<Self, Malformed> {
                let mut input = Reader::new(body);
                let message = match kind {
                    $($number if way.is_none_or(|way| direction!($direction, way)) => {
                        Self::$name(Field::decode(&mut input)?)
                    })+
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
    (Both, $d:ident) => {{
        let _any = $d;
        true
    }};
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
    21 Welcome(Welcome<'a>)        ToClient Ready;
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
    64 EnrolBoard(EnrolBoard<'a>)  ToServer Ready;
    65 RevokeBoard(RevokeBoard<'a>) ToServer Ready;
    66 ListBoards(ListRequest<'a>) ToServer Ready;
    67 Boards(Page<'a, BoardEntry<'a>>) ToClient Ready;
}

/// Declares bodies whose fields stand one after the other. `where` adds a condition, both ways.
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
                $(
                    let sound: fn(&Self) -> bool = $check;
                    if !sound(self) {
                        return Err(Overflow);
                    }
                )?
                $(self.$field.encode(out)?;)+
                Ok(())
            }

            fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
                let body = Self { $($field: Field::decode(input)?,)+ };
                $(
                    let sound: fn(&Self) -> bool = $check;
                    if !sound(&body) {
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
        /// Number of a [`CloseReason`]; one that is unknown is a close all the same.
        reason: u8,
        /// Records that the sender has opened on this connection.
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
    } where Policy::is_sound;

    /// A line from the server for the person.
    struct Notice<'a> {
        /// How serious.
        level: NoticeLevel,
        /// At most 512 bytes.
        text: Text<'a>,
    } where |n| n.text.0.len() <= MAX_NOTICE;

    /// To a board that has claimed its code: by whom it was enrolled.
    struct Welcome<'a> {
        /// The member who made the code.
        owner: Username<'a>,
        /// HMAC under the code's secret over the board's and the owner's name.
        proof: [u8; 32],
    }

    /// Makes an account for a board, which a code lets in.
    struct EnrolBoard<'a> {
        /// Comes back in the answer.
        tag: u32,
        /// Username of the board.
        board: Username<'a>,
        /// SHA-256 of the code's lookup id.
        lookup: [u8; 32],
        /// What the board is given in WELCOME.
        proof: [u8; 32],
        /// Seconds for which the code is good.
        lifetime: u32,
    }

    /// Disables a board and ends its connection.
    struct RevokeBoard<'a> {
        /// Comes back in the answer.
        tag: u32,
        /// Username of the board.
        board: Username<'a>,
    }

    /// A board in a list.
    struct BoardEntry<'a> {
        /// Its username.
        board: Username<'a>,
        /// How far its enrolment has come.
        state: BoardState,
        /// Unix time in milliseconds at which it was last connected, or, while pending, at which its code expires.
        time: u64,
        /// Fingerprint of the device key that claimed the code, or zeros.
        device: [u8; 32],
        /// HMAC under the code's secret over that fingerprint, or zeros.
        proof: [u8; 32],
    }

    /// A message on its way to the server.
    struct Send<'a> {
        /// Chosen by the sender.
        id: MessageId,
        /// To whom.
        target: Target<'a>,
        /// What the body is: 0 = UTF-8 text.
        format: u8,
        /// 1 to 15,360 bytes; the server refuses other sizes.
        body: Opaque<'a>,
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
    } where |r| r.code != Code::Ok && r.code.may_wait(r.retry_after);

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
        part: Opaque<'a>,
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
    } where |d| d.code.may_wait(d.retry_after);

    /// LIST_ROOMS, WHO and LIST_BOARDS.
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

impl Policy<'_> {
    /// zxcvbn scores end at 4, and the whole fits the smallest record.
    fn is_sound(&self) -> bool {
        let domains =
            self.domains.iter().fold(0, |sum: usize, d| sum.saturating_add(d.len()).saturating_add(1));
        let texts = self.server_name.len().saturating_add(self.rules.0.len()).saturating_add(domains);
        self.password_score <= 4 && texts.saturating_add(POLICY_FIXED) <= MAX_POLICY
    }
}

/// Bytes of a POLICY without its texts and domains.
const POLICY_FIXED: usize = 5 + 2 + 1 + 2 + 2;

impl Deliver<'_> {
    /// The part lies within the body, is not empty, and the body has a legal size.
    fn is_well_formed(&self) -> bool {
        let end = usize::from(self.offset).saturating_add(self.part.0.len());
        let total = usize::from(self.total);
        (1..=MAX_BODY).contains(&total) && !self.part.0.is_empty() && end <= total
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
