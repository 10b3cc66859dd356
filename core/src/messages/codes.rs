//! Numbers of one byte: reasons, codes, methods, kinds. A number that is not listed is malformed.

use crate::wire::{Field, Malformed, Overflow, Reader, Writer};

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
        /// A reason that this version doesn't know.
        Other = 0,
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
        /// Somebody else has the username.
        NameTaken = 10,
        /// The account has too many boards.
        TooManyBoards = 11,
    }

    /// How to authenticate.
    AuthMethod {
        /// Make a new account and bind the device key to it.
        Register = 1,
        /// Bind the device key to an account by its password.
        Password = 2,
        /// The device key is bound already.
        Device = 3,
        /// Bind the device key to the board's account that an enrolment code names.
        Claim = 4,
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

    /// How far a board's enrolment has come.
    BoardState {
        /// Its code waits to be used.
        Pending = 0,
        /// A board has claimed the code.
        Active = 1,
        /// The code was not used in time.
        Expired = 2,
        /// The owner or the operator has disabled it.
        Revoked = 3,
    }

    /// What happened in a room.
    RoomEventKind {
        /// Somebody joined.
        Joined = 1,
        /// Somebody left.
        Left = 2,
    }
}

impl Code {
    /// Only two codes may ask for a pause.
    pub(super) const fn may_wait(self, seconds: u32) -> bool {
        seconds == 0 || matches!(self, Self::RateLimited | Self::Unavailable)
    }
}
