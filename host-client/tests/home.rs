//! The home directory: modes, whole files, and several processes at once.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use sordino::failure::Exit;
use sordino::home::{Account, Home, KnownServer};
use sordino_core::identity::{Pin, Statement};
use zeroize::Zeroizing;

fn account(user: &str) -> Account {
    Account { user: user.into(), server: "localhost:12345".into(), suite: 2 }
}

fn server(root: u8, version: u32, key: Option<u8>) -> KnownServer {
    let statement = Statement::new(version, 0, &[(1, [1; 32]), (2, [version as u8; 32])]).unwrap();
    KnownServer { pin: Pin { root: [root; 32], statement }, suite1: None, suite2: key.map(|k| vec![k; 384]) }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn everything_in_the_home_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/home");
    let home = Home::open(&path).unwrap();
    home.set_account(&account("alice")).unwrap();
    home.pin(&server(1, 1, None)).unwrap();
    home.reserve_counters(1).unwrap();
    home.device_key(2, || Ok(Zeroizing::new(vec![7; 40]))).unwrap();
    let _receiving = home.lock_receiving().unwrap();
    assert_eq!(mode(&path), 0o700);
    let mut files = 0;
    for file in fs::read_dir(&path).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        files += 1;
    }
    assert!(files >= 6);
}

#[test]
fn a_loose_home_is_tightened_but_a_foreign_directory_is_not() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let home = Home::open(dir.path()).unwrap();
    assert_eq!(mode(dir.path()), 0o700);
    home.set_account(&account("alice")).unwrap();
    fs::write(home.history_path("alice"), "").unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    Home::open(dir.path()).unwrap();
    assert_eq!(mode(dir.path()), 0o700);
    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("thesis"), "").unwrap();
    fs::set_permissions(foreign.path(), Permissions::from_mode(0o755)).unwrap();
    for _ in 0..2 {
        let home = Home::open(foreign.path()).unwrap();
        home.set_account(&account("alice")).unwrap();
        assert_eq!(mode(foreign.path()), 0o755);
    }
}

#[test]
fn the_device_key_is_made_once_for_each_suite() {
    let dir = tempfile::tempdir().unwrap();
    let made = AtomicU32::new(0);
    let keys: HashSet<Vec<u8>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|n| {
                let (dir, made) = (dir.path(), &made);
                scope.spawn(move || {
                    let make = || {
                        made.fetch_add(1, Ordering::Relaxed);
                        Ok(Zeroizing::new(vec![n; 40]))
                    };
                    Home::open(dir).unwrap().device_key(2, make).unwrap().to_vec()
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    assert_eq!((keys.len(), made.load(Ordering::Relaxed)), (1, 1));
    let home = Home::open(dir.path()).unwrap();
    let other = home.device_key(1, || Ok(Zeroizing::new(vec![9; 32]))).unwrap();
    assert_eq!(*other, vec![9; 32]);
    let again = home.device_key(2, || panic!("made again")).unwrap();
    assert!(keys.contains(&*again));
}

#[test]
fn no_two_reservations_share_a_counter() {
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<u64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let home = Home::open(dir.path()).unwrap();
                    (0..25).flat_map(|_| home.reserve_counters(3).unwrap()).collect::<Vec<u64>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 300);
}

#[test]
fn readers_never_see_half_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    home.set_account(&account("aaa")).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..60 {
                home.set_account(&account(&"a".repeat(3 + n % 29))).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let user = home.account().unwrap().expect("the file is always there").user;
            assert!(user.bytes().all(|b| b == b'a'));
        }
    });
}

#[test]
fn what_a_crash_left_behind_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    home.set_account(&account("alice")).unwrap();
    fs::write(dir.path().join("account.toml.new"), "user = \"mal").unwrap();
    assert_eq!(home.account().unwrap(), Some(account("alice")));
    home.set_account(&account("bob")).unwrap();
    assert_eq!(home.account().unwrap(), Some(account("bob")));
}

#[test]
fn a_damaged_file_is_reported_without_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    fs::write(dir.path().join("device.toml"), "suite2 = secret-digits").unwrap();
    let failure = home.device_key(2, || panic!("a damaged key must not be replaced")).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(!failure.message.contains("secret-digits"));
}

#[test]
fn a_pin_follows_rotation_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    home.pin(&server(1, 1, Some(10))).unwrap();
    home.pin(&server(1, 1, None)).unwrap();
    assert_eq!(home.server().unwrap(), Some(server(1, 1, Some(10))), "a static key is kept");
    home.pin(&server(1, 3, None)).unwrap();
    home.pin(&server(1, 2, None)).unwrap();
    assert_eq!(home.server().unwrap(), Some(server(1, 3, None)), "a version never goes back");
    let failure = home.pin(&server(2, 9, None)).unwrap_err();
    assert_eq!(failure.exit, Exit::Untrusted);
    assert_eq!(home.server().unwrap(), Some(server(1, 3, None)));
}

#[test]
fn one_process_receives() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::open(dir.path()).unwrap();
    let first = home.lock_receiving().unwrap();
    assert_eq!(home.lock_receiving().unwrap_err().exit, Exit::Failed);
    drop(first);
    home.lock_receiving().unwrap();
}
