//! Boards against a real database, without sockets: enrolled, claimed once, listed, revoked, remembered.

mod common;

use std::{net::IpAddr, path::Path, sync::Arc};

use common::Bench;
use smol::block_on;
use sordino_core::board::{board_proof, lookup_hash, lookup_id, owner_proof};
use sordino_core::messages::{AuthCode, Code};
use sordino_server::{
    accounts::{Accounts, ClaimRequest, Claimed, Enrolment, Unfit, set_disabled},
    config::Config,
    limits::{Limits, Origin},
    store::AccountId,
};
use tempfile::tempdir;

const SECRET: [u8; 16] = [7; 16];

struct Office {
    bench: Bench,
    accounts: Accounts,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Office {
    async fn open(dir: &Path) -> Self {
        let mut config = Config::default();
        config.argon2.memory = 64;
        let bench = Bench::with(dir, config.limits.clone()).await;
        let limits = Arc::new(Limits::new(&config.limits));
        let accounts =
            Accounts::new(Arc::new(config), limits, Arc::clone(&bench.hub), bench.reader.clone()).unwrap();
        Self { bench, accounts }
    }

    async fn member(&self, name: &str) -> AccountId {
        self.bench.account(name).await;
        self.bench.hub.state().directory.person_named(name).unwrap().account.id
    }

    async fn enrol(&self, owner: AccountId, name: &str, secret: u8) -> Code {
        let lookup = lookup_hash(&lookup_id(&[secret; 16]));
        let proof = *owner_proof(&[secret; 16], name, "alice").array();
        let enrolment = Enrolment { name: name.into(), lookup, proof, lifetime: 600 };
        self.accounts.enrol_board(owner, enrolment).await
    }

    async fn claim(&self, secret: [u8; 16], key: u8) -> Result<Claimed, AuthCode> {
        let request = ClaimRequest {
            lookup: hex(&lookup_id(&secret)),
            proof: hex(board_proof(&secret, &[key; 32]).expose()),
            label: "board".into(),
            fingerprint: [key; 32],
            key_is_sound: Box::new(move || key != 99),
            origin: Origin::from(IpAddr::from([192, 0, 2, 1])),
        };
        self.accounts.claim(request, 0).await.map_err(|r| r.code)
    }
}

#[test]
fn the_first_key_claims_and_may_do_so_again() {
    let dir = tempdir().unwrap();
    block_on(async {
        let office = Office::open(dir.path()).await;
        let alice = office.member("alice").await;
        assert_eq!(office.claim(SECRET, 1).await.err(), Some(AuthCode::Denied), "nothing enrolled yet");
        assert_eq!(office.enrol(alice, "greenhouse", 7).await, Code::Ok);
        assert_eq!(office.claim(SECRET, 99).await.err(), Some(AuthCode::Denied), "an unsound key");
        let first = office.claim(SECRET, 1).await.unwrap();
        assert_eq!(&*first.owner, "alice");
        assert_eq!(first.proof, *owner_proof(&SECRET, "greenhouse", "alice").array());
        assert_eq!(office.claim(SECRET, 2).await.err(), Some(AuthCode::Denied), "another key");
        assert_eq!(office.claim([8; 16], 1).await.err(), Some(AuthCode::Denied), "another code");
        assert_eq!(office.claim(SECRET, 1).await.unwrap().device, first.device);

        office.bench.close().await;
        let office = Office::open(dir.path()).await;
        assert_eq!(office.claim(SECRET, 2).await.err(), Some(AuthCode::Denied), "after a restart");
        assert_eq!(office.claim(SECRET, 1).await.unwrap().device, first.device);
        office.bench.close().await;
    });
}

#[test]
fn an_unused_code_is_replaced_by_its_owner_only() {
    let dir = tempdir().unwrap();
    block_on(async {
        let office = Office::open(dir.path()).await;
        let (alice, bob) = (office.member("alice").await, office.member("bob").await);
        assert_eq!(office.enrol(alice, "greenhouse", 7).await, Code::Ok);
        assert_eq!(office.enrol(bob, "greenhouse", 8).await, Code::NameTaken);
        assert_eq!(office.enrol(alice, "bob", 8).await, Code::NameTaken);
        assert_eq!(office.enrol(alice, "server", 8).await, Code::NotAllowed);
        assert_eq!(office.enrol(alice, "greenhouse", 9).await, Code::Ok);
        assert_eq!(office.claim(SECRET, 1).await.err(), Some(AuthCode::Denied), "the replaced code");
        let board = office.claim([9; 16], 1).await.unwrap().device;
        assert_eq!(office.enrol(alice, "greenhouse", 10).await, Code::NameTaken, "claimed");
        let account = office.bench.hub.state().directory.device(board).unwrap().account;
        assert_eq!(office.enrol(account, "shed", 11).await, Code::NotAllowed, "a board enrols no boards");
        office.bench.close().await;
    });
}

#[test]
fn a_revoked_board_stays_out_and_its_name_is_gone() {
    let dir = tempdir().unwrap();
    block_on(async {
        let office = Office::open(dir.path()).await;
        let (alice, bob) = (office.member("alice").await, office.member("bob").await);
        assert_eq!(office.enrol(alice, "greenhouse", 7).await, Code::Ok);
        office.claim(SECRET, 1).await.unwrap();
        assert_eq!(office.accounts.revoke_board(bob, "greenhouse").await, Code::NotFound);
        assert_eq!(office.accounts.revoke_board(alice, "bob").await, Code::NotFound);
        assert_eq!(office.accounts.revoke_board(alice, "greenhouse").await, Code::Ok);
        office.bench.close().await;
        let office = Office::open(dir.path()).await;
        assert_eq!(office.claim(SECRET, 1).await.err(), Some(AuthCode::Denied));
        assert!(office.bench.hub.state().directory.device_with(&[1; 32]).is_none());
        assert_eq!(office.enrol(alice, "greenhouse", 9).await, Code::NameTaken);
        let lines = office.bench.hub.state().boards_page(alice, "", 1000).items;
        assert!(lines.len() == 1 && lines[0].disabled);
        office.bench.close().await;
    });
}

#[test]
fn the_operator_disables_a_board_and_can_enable_it_but_not_after_its_owner_revoked_it() {
    let dir = tempdir().unwrap();
    block_on(async {
        let office = Office::open(dir.path()).await;
        let alice = office.member("alice").await;
        let hub = &office.bench.hub;
        assert_eq!(office.enrol(alice, "greenhouse", 7).await, Code::Ok);
        let device = office.claim(SECRET, 1).await.unwrap().device;
        set_disabled(hub, "greenhouse", true).await.unwrap();
        assert_eq!(office.claim(SECRET, 1).await.err(), Some(AuthCode::Denied));
        assert!(hub.state().boards_page(alice, "", 1000).items[0].disabled);
        set_disabled(hub, "greenhouse", false).await.unwrap();
        assert_eq!(office.claim(SECRET, 1).await.unwrap().device, device);
        assert_eq!(office.accounts.revoke_board(alice, "greenhouse").await, Code::Ok);
        assert_eq!(set_disabled(hub, "greenhouse", false).await, Err(Unfit::Revoked));
        assert_eq!(office.claim(SECRET, 1).await.err(), Some(AuthCode::Denied));
        office.bench.close().await;
    });
}
