//! The LAN9118 Ethernet controller, polled.

use crate::registers::Registers;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

const RX_DATA: usize = 0x00;
const TX_DATA: usize = 0x20;
const RX_STATUS: usize = 0x40;
const TX_STATUS: usize = 0x48;
const IRQ_CFG: usize = 0x54;
const INT_STS: usize = 0x58;
const INT_EN: usize = 0x5c;
const BYTE_TEST: usize = 0x64;
const FIFO_INT: usize = 0x68;
const RX_CFG: usize = 0x6c;
const TX_CFG: usize = 0x70;
const HW_CFG: usize = 0x74;
const RX_FIFO_INF: usize = 0x7c;
const TX_FIFO_INF: usize = 0x80;
const MAC_CMD: usize = 0xa4;
const MAC_DATA: usize = 0xa8;

const MAC_CR: u32 = 1;
const ADDRH: u32 = 2;
const ADDRL: u32 = 3;

/// An Ethernet frame without its checksum, in bytes.
const FRAME: usize = 1514;
/// The same in whole words.
const BUFFER: usize = FRAME.next_multiple_of(4);
const FCS: usize = 4;

pub struct Lan9118 {
    registers: Registers,
    rx: [u8; BUFFER],
    tx: [u8; BUFFER],
}

impl Lan9118 {
    /// Resets the controller; `None` if there is none.
    pub fn new(mac: [u8; 6]) -> Option<Self> {
        // SAFETY: the Ethernet controller of mps2-an386.
        let registers = unsafe { Registers::at(0x4020_0000) };
        if registers.read(BYTE_TEST) != 0x8765_4321 {
            return None;
        }
        registers.write(HW_CFG, 1);
        while registers.read(HW_CFG) & 1 != 0 {}
        registers.write(HW_CFG, 0x50000);
        registers.write(INT_EN, 0);
        registers.write(INT_STS, u32::MAX);
        registers.write(FIFO_INT, 0);
        registers.write(IRQ_CFG, 0x111);
        registers.write(RX_CFG, 0);
        let lan = Self { registers, rx: [0; BUFFER], tx: [0; BUFFER] };
        let [a, b, c, d, e, f] = mac;
        lan.write_mac(ADDRL, u32::from_le_bytes([a, b, c, d]));
        lan.write_mac(ADDRH, u32::from_le_bytes([e, f, 0, 0]));
        // Full duplex, pad stripping, transmitter and receiver on.
        lan.write_mac(MAC_CR, 1 << 20 | 1 << 8 | 1 << 3 | 1 << 2);
        registers.write(TX_CFG, 6);
        Some(lan)
    }

    fn write_mac(&self, register: u32, value: u32) {
        let busy = || self.registers.read(MAC_CMD) >> 31 != 0;
        while busy() {}
        self.registers.write(MAC_DATA, value);
        self.registers.write(MAC_CMD, 1 << 31 | register);
        while busy() {}
    }

    /// Takes the next good frame out of the FIFO: its length.
    fn take(&mut self) -> Option<usize> {
        while (self.registers.read(RX_FIFO_INF) >> 16) & 0xff != 0 {
            let status = self.registers.read(RX_STATUS);
            let len = (status >> 16 & 0x3fff) as usize;
            for at in (0..len).step_by(4) {
                let word = self.registers.read(RX_DATA).to_le_bytes();
                if let Some(place) = self.rx.get_mut(at..at + 4) {
                    place.copy_from_slice(&word);
                }
            }
            let payload = len.saturating_sub(FCS);
            if status & 1 << 15 == 0 && (1..=FRAME).contains(&payload) {
                return Some(payload);
            }
        }
        None
    }
}

impl Device for Lan9118 {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Outgoing<'_>)> {
        let len = self.take()?;
        Some((Received(self.rx.get(..len)?), Outgoing { registers: self.registers, frame: &mut self.tx }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        let free = (self.registers.read(TX_FIFO_INF) & 0xffff) as usize;
        (free > BUFFER + 8).then_some(Outgoing { registers: self.registers, frame: &mut self.tx })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        capabilities.max_burst_size = Some(1);
        capabilities
    }
}

pub struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub struct Outgoing<'a> {
    registers: Registers,
    frame: &'a mut [u8; BUFFER],
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let len = len.min(FRAME);
        let (frame, _) = self.frame.split_at_mut(len);
        let result = f(frame);
        self.registers.write(TX_DATA, 1 << 13 | 1 << 12 | len as u32);
        self.registers.write(TX_DATA, (len as u32) << 16 | len as u32);
        let (words, _) = self.frame.as_chunks::<4>();
        for word in words.iter().take(len.div_ceil(4)) {
            self.registers.write(TX_DATA, u32::from_le_bytes(*word));
        }
        while (self.registers.read(TX_FIFO_INF) >> 16) & 0xff != 0 {
            self.registers.read(TX_STATUS);
        }
        result
    }
}
