//! What the console drives: the green LED and the chip's own thermometer.

use core::fmt;
use embassy_rp::Peri;
use embassy_rp::adc::{self, Adc, Blocking, Channel};
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{ADC, ADC_TEMP_SENSOR, PIN_25};
use embassy_time::Instant;
use sordino_firmware_common::Machine;
use sordino_firmware_common::embassy::Output as Screen;

pub struct Pico2 {
    screen: &'static Screen,
    led: Output<'static>,
    adc: Adc<'static, Blocking>,
    sensor: Channel<'static>,
}

impl Pico2 {
    pub fn new(
        screen: &'static Screen,
        led: Peri<'static, PIN_25>,
        adc: Peri<'static, ADC>,
        sensor: Peri<'static, ADC_TEMP_SENSOR>,
    ) -> Self {
        Self {
            screen,
            led: Output::new(led, Level::Low),
            adc: Adc::new_blocking(adc, adc::Config::default()),
            sensor: Channel::new_temp_sensor(sensor),
        }
    }
}

impl fmt::Write for Pico2 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.screen.write(text)
    }
}

impl Machine for Pico2 {
    fn now(&self) -> u64 {
        Instant::now().as_millis()
    }

    fn set_led(&mut self, on: bool) {
        self.led.set_level(Level::from(on));
    }

    /// 27 °C at 706 mV, 1.721 mV less for each degree more (RP2350 datasheet, section 12.4.6).
    fn temperature(&mut self) -> i32 {
        let raw = self.adc.blocking_read(&mut self.sensor).unwrap_or_default();
        let microvolts = i32::from(raw) * (3_300_000 / 4096);
        270 - (microvolts - 706_000) * 10 / 1721
    }
}
