//! What the console drives: the green LED and the chip's own thermometer.

use core::fmt;
use embassy_stm32::Peri;
use embassy_stm32::adc::{Adc, SampleTime, Temperature};
use embassy_stm32::gpio::{Level, Output, Speed};
use embassy_stm32::peripherals::{ADC1, PB0};
use embassy_time::Instant;
use sordino_firmware_common::Machine;
use sordino_firmware_common::embassy::Output as Screen;

pub struct Nucleo {
    screen: &'static Screen,
    led: Output<'static>,
    adc: Adc<'static, ADC1>,
    sensor: Temperature,
}

impl Nucleo {
    pub fn new(screen: &'static Screen, led: Peri<'static, PB0>, adc: Peri<'static, ADC1>) -> Self {
        let adc = Adc::new(adc);
        let sensor = adc.enable_temperature();
        Self { screen, led: Output::new(led, Level::Low, Speed::Low), adc, sensor }
    }
}

impl fmt::Write for Nucleo {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.screen.write(text)
    }
}

impl Machine for Nucleo {
    fn now(&self) -> u64 {
        Instant::now().as_millis()
    }

    fn set_led(&mut self, on: bool) {
        self.led.set_level(Level::from(on));
    }

    /// Typically 760 mV at 25 °C and 2.5 mV for each degree (datasheet DS11532, temperature sensor).
    fn temperature(&mut self) -> i32 {
        let raw = self.adc.blocking_read(&mut self.sensor, SampleTime::CYCLES480);
        let microvolts = i32::from(raw) * (3_300_000 / 4096);
        250 + (microvolts - 760_000) / 250
    }
}
