//! The ranges of a policy's values.

use anyhow::{Result, bail, ensure};

use sordino_core::config::{MAX_BODY, MAX_POLICY};

use super::Config;

impl Config {
    /// Checks every value's range.
    ///
    /// # Errors
    /// Names the first key whose value can't be used.
    pub fn check(&self) -> Result<()> {
        self.check_server()?;
        self.check_registration()?;
        self.check_limits()?;
        self.check_timeouts()?;
        self.check_argon2()?;
        let bytes = self.policy_bytes();
        ensure!(
            bytes <= MAX_POLICY,
            "name, rules and registration.email_domains are too long together: clients would be sent {bytes} bytes, \
             {MAX_POLICY} are possible"
        );
        Ok(())
    }

    /// The length of the POLICY record's body (PROTOCOL.md section 8).
    #[must_use]
    pub fn policy_bytes(&self) -> usize {
        let domains: usize = self.registration.email_domains.iter().map(|d| 1 + d.len()).sum();
        7 + (1 + self.name.len()) + (2 + self.rules.len()) + 2 + domains
    }

    fn check_server(&self) -> Result<()> {
        ensure!(
            self.listen.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()),
            "listen is not HOST:PORT"
        );
        ensure!(self.name.len() <= 64, "name has more than 64 bytes");
        ensure!(!self.suites.is_empty(), "suites is empty");
        ensure!(self.suites.iter().all(|s| matches!(s, 1 | 2)), "suites: only 1 and 2 exist");
        ensure!(self.suites.is_sorted_by(|a, b| a < b), "suites are not strictly ascending");
        ensure!((1..=365).contains(&self.mailbox_days), "mailbox_days is not 1 to 365");
        Ok(())
    }

    fn check_registration(&self) -> Result<()> {
        let r = &self.registration;
        ensure!(
            r.username_min >= 3 && r.username_min <= r.username_max,
            "registration.username_min is not 3 to username_max"
        );
        ensure!(r.username_max <= 32, "registration.username_max is above 32");
        ensure!((1..=128).contains(&r.password_min), "registration.password_min is not 1 to 128");
        ensure!(r.password_score <= 4, "registration.password_score is not 0 to 4");
        for domain in &r.email_domains {
            let valid = domain.is_ascii() && !domain.contains('@') && domain.len() <= 253;
            let parses = email_address::EmailAddress::is_valid(&format!("a@{domain}"));
            ensure!(valid && parses, "registration.email_domains: {domain:?} is not a domain");
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<()> {
        let l = &self.limits;
        let above_zero = [
            (l.connections, "connections"),
            (l.connections_per_address, "connections_per_address"),
            (l.new_connections_per_second, "new_connections_per_second"),
            (l.handshakes, "handshakes"),
            (l.registrations_per_minute, "registrations_per_minute"),
            (l.login_failures_account, "login_failures_account"),
            (l.login_failures_address, "login_failures_address"),
            (l.login_failures_server, "login_failures_server"),
            (l.login_failures_known_device, "login_failures_known_device"),
            (l.login_interval_account, "login_interval_account"),
            (l.login_interval_address, "login_interval_address"),
            (l.login_interval_server, "login_interval_server"),
            (l.login_interval_known_device, "login_interval_known_device"),
            (l.password_jobs, "password_jobs"),
            (l.accounts, "accounts"),
            (l.devices_per_account, "devices_per_account"),
            (l.mailbox, "mailbox"),
            (u32::from(l.room_members), "room_members"),
            (l.rooms_per_account, "rooms_per_account"),
            (l.rooms, "rooms"),
            (l.message_burst, "message_burst"),
            (l.messages_per_second, "messages_per_second"),
        ];
        if let Some((_, key)) = above_zero.iter().find(|(value, _)| *value == 0) {
            bail!("limits.{key} is 0");
        }
        ensure!((1..=MAX_BODY).contains(&usize::from(l.body)), "limits.body is not 1 to 15360");
        Ok(())
    }

    fn check_timeouts(&self) -> Result<()> {
        let t = &self.timeouts;
        ensure!(t.handshake > 0 && t.login > 0 && t.ping > 0, "timeouts: 0 is not possible");
        ensure!(t.ping < t.idle, "timeouts.idle is not above timeouts.ping");
        ensure!((1..=86_400).contains(&t.lifetime), "timeouts.lifetime is not 1 to 86400");
        Ok(())
    }

    fn check_argon2(&self) -> Result<()> {
        let a = &self.argon2;
        ensure!(a.memory <= 4 << 20, "argon2.memory is above 4 GiB");
        if let Err(e) = argon2::Params::new(a.memory, a.passes, a.lanes, None) {
            bail!("argon2: {e}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        format!("{:#}", Config::parse(text).expect_err(text))
    }

    #[test]
    fn values_out_of_range_are_named() {
        for (text, key) in [
            ("listen = 'nowhere'", "listen"),
            ("suites = [2, 1]", "suites"),
            ("suites = [3]", "suites"),
            ("[registration]\nusername_min = 2", "username_min"),
            ("[registration]\nusername_max = 33", "username_max"),
            ("[registration]\npassword_score = 5", "password_score"),
            ("[registration]\nemail_domains = ['a@b']", "email_domains"),
            ("[limits]\nbody = 15361", "body"),
            ("[limits]\nmailbox = 0", "mailbox"),
            ("[timeouts]\nlifetime = 86401", "lifetime"),
            ("[timeouts]\nidle = 60", "idle"),
            ("[argon2]\nmemory = 1", "argon2"),
        ] {
            assert!(refused(text).contains(key), "{text}: {}", refused(text));
        }
    }

    #[test]
    fn the_policy_fits_its_record_to_the_byte() {
        let name_and_fields = 7 + 1 + "Sordino".len() + 2 + 2;
        let room = MAX_POLICY - name_and_fields;
        assert!(Config::parse(&format!("rules = '{}'", "r".repeat(room))).is_ok());
        assert!(refused(&format!("rules = '{}'", "r".repeat(room + 1))).contains("1021 bytes"));
        let domain =
            format!("rules = '{}'\n[registration]\nemail_domains = ['a.example']", "r".repeat(room - 9));
        assert!(refused(&domain).contains("1021 bytes"));
    }
}
