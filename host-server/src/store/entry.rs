//! A message as it stands in a block.

use sordino_core::wire::{Field as _, Malformed, Reader};

use super::{AccountId, DeviceId, Message, Place, RoomId, Target};

/// What is said of a block with something else in it.
pub(super) const DAMAGED: &str = "the database is damaged, in a row of messages: restore it from a copy";
/// Bytes of an entry beside the body's.
const HEAD: usize = 60;

/// A message without the names that its readers see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub place: Place,
    pub format: u8,
    pub body: &'a [u8],
}

impl<'a> Entry<'a> {
    pub fn new(message: &'a Message) -> Self {
        Self { place: message.place, format: message.format, body: message.body() }
    }

    /// In bytes.
    pub const fn len(&self) -> usize {
        HEAD + self.body.len()
    }

    /// Appends it to a block.
    pub fn put(&self, block: &mut Vec<u8>) {
        let Place { number, id, time, sender, device, target } = self.place;
        let (is_room, target) = match target {
            Target::User(account) => (0, account.0),
            Target::Room(room) => (1, room.0),
        };
        // The protocol has no longer ones.
        let len = u16::try_from(self.body.len()).unwrap_or(u16::MAX);
        block.extend_from_slice(&number.to_be_bytes());
        block.extend_from_slice(&id);
        block.extend_from_slice(&time.to_be_bytes());
        block.extend_from_slice(&sender.0.to_be_bytes());
        block.extend_from_slice(&device.0.to_be_bytes());
        block.push(is_room);
        block.extend_from_slice(&target.to_be_bytes());
        block.push(self.format);
        block.extend_from_slice(&len.to_be_bytes());
        block.extend_from_slice(&self.body[..usize::from(len)]);
    }

    fn read(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let row = |input: &mut Reader<'a>| u64::decode(input).map(u64::cast_signed);
        let place = Place {
            number: u64::decode(input)?,
            id: input.array()?,
            time: u64::decode(input)?,
            sender: AccountId(row(input)?),
            device: DeviceId(row(input)?),
            target: match bool::decode(input)? {
                false => Target::User(AccountId(row(input)?)),
                true => Target::Room(RoomId(row(input)?)),
            },
        };
        Ok(Self { place, format: u8::decode(input)?, body: <&[u8]>::decode(input)? })
    }
}

/// The entries of a block, to the end or to the first that isn't one.
pub(super) fn entries(block: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, Malformed>> {
    let mut rest = Some(Reader::new(block));
    std::iter::from_fn(move || {
        let reader = rest.as_mut().filter(|reader| !reader.rest().is_empty())?;
        let entry = Entry::read(reader);
        if entry.is_err() {
            rest = None;
        }
        Some(entry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, target: Target, body: &[u8]) -> Entry<'_> {
        let place = Place { number, id: [9; 16], time: 8, sender: AccountId(2), device: DeviceId(3), target };
        Entry { place, format: 5, body }
    }

    #[test]
    fn a_block_has_the_form_that_the_schema_says() {
        let mut block = Vec::new();
        entry(0x0102, Target::Room(RoomId(4)), b"hello").put(&mut block);
        let expected = "0000000000000102 09090909090909090909090909090909 0000000000000008 0000000000000002
            0000000000000003 01 0000000000000004 05 0005 68656c6c6f";
        let hex: String = block.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected.split_whitespace().collect::<String>());
    }

    #[test]
    fn entries_are_read_as_they_were_put() {
        let long = vec![0xa5; 15_360];
        let all = [
            entry(1, Target::User(AccountId(7)), b"A"),
            entry(2, Target::Room(RoomId(i64::MAX)), &long),
            entry(u64::MAX >> 1, Target::User(AccountId(1)), b""),
        ];
        let mut block = Vec::new();
        all.iter().for_each(|entry| entry.put(&mut block));
        assert_eq!(entries(&block).collect::<Result<Vec<_>, _>>().unwrap(), all);
        assert_eq!(entries(&[]).count(), 0);
    }

    #[test]
    fn what_is_cut_off_is_an_error_and_the_end() {
        let mut block = Vec::new();
        entry(1, Target::User(AccountId(7)), b"hello").put(&mut block);
        let whole = block.len();
        entry(2, Target::User(AccountId(7)), b"hello").put(&mut block);
        for end in whole + 1..block.len() {
            let read: Vec<_> = entries(&block[..end]).collect();
            assert!(matches!(read[..], [Ok(_), Err(Malformed)]), "{end}");
        }
        block[whole + 48] = 2;
        assert!(matches!(entries(&block).collect::<Vec<_>>()[..], [Ok(_), Err(Malformed)]), "no such target");
    }
}
