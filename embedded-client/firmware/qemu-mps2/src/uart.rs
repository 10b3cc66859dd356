//! The console: CMSDK UART 0.

use crate::registers::Registers;
use core::fmt;

const DATA: usize = 0x00;
const STATE: usize = 0x04;
const CTRL: usize = 0x08;
const BAUDDIV: usize = 0x10;
const TX_FULL: u32 = 1;
const RX_FULL: u32 = 2;

#[derive(Clone, Copy)]
pub struct Uart(Registers);

impl Uart {
    pub fn new() -> Self {
        // SAFETY: UART 0 of mps2-an386.
        let registers = unsafe { Registers::at(0x4000_4000) };
        registers.write(BAUDDIV, 217);
        registers.write(CTRL, 3);
        Self(registers)
    }

    /// A byte that was typed.
    pub fn read(self) -> Option<u8> {
        (self.0.read(STATE) & RX_FULL != 0).then(|| self.0.read(DATA) as u8)
    }
}

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while self.0.read(STATE) & TX_FULL != 0 {}
            self.0.write(DATA, u32::from(byte));
        }
        Ok(())
    }
}

/// A line on the console.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {{
        use core::fmt::Write as _;
        let _never_fails = writeln!($crate::uart::Uart::new(), $($argument)*);
    }};
}
