//! What the console drives: UART, LED, and a sensor that is not there.

use crate::clock::now;
use crate::registers::Registers;
use crate::uart::Uart;
use core::fmt;
use sordino_firmware_common::Machine;

pub struct Mps2 {
    uart: Uart,
    led: Registers,
}

impl Mps2 {
    pub fn new(uart: Uart) -> Self {
        // SAFETY: the LED register of the FPGA's system I/O on mps2-an386.
        let led = unsafe { Registers::at(0x4002_8000) };
        Self { uart, led }
    }
}

impl fmt::Write for Mps2 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.uart.write_str(text)
    }
}

impl Machine for Mps2 {
    fn now(&self) -> u64 {
        now()
    }

    fn set_led(&mut self, on: bool) {
        self.led.write(0, u32::from(on));
    }

    /// Not measured: the machine has no sensor.
    fn temperature(&mut self) -> i32 {
        200 + (now() / 1000 % 50) as i32
    }
}
