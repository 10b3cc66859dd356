//! The local history: a message once, in the server's order, with its state.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sordino::history::{Entry, History, Id, Outgoing, State};
use sordino::text::target::Target;

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn received(number: u64, id: Id, text: &str) -> Entry {
    Entry {
        sender: "bob".into(),
        id,
        conversation: target("@bob"),
        target: target("@alice"),
        number: Some(number),
        time: 1_000 - number,
        format: 0,
        body: text.into(),
        state: None,
    }
}

async fn queue(history: &History, id: Id, text: &str) {
    let to = target("@bob");
    history.record_queued(&Outgoing { sender: "alice", id, target: &to, time: 500, text }).await.unwrap();
}

async fn texts(history: &History) -> Vec<String> {
    history.conversation(&target("@bob"), u32::MAX).await.unwrap().iter().map(Entry::text).collect()
}

fn with_history<F: Future<Output = ()>>(check: impl FnOnce(History, std::path::PathBuf) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alice.sqlite");
    smol::block_on(async {
        let history = History::open(&path).await.unwrap();
        check(history, path.clone()).await;
    });
}

#[test]
fn a_redelivered_message_is_shown_once() {
    with_history(|history, path| async move {
        let (one, two) = (received(1, [1; 16], "one"), received(2, [2; 16], "two"));
        assert_eq!(
            history.unseen(&[one.clone(), two.clone(), one.clone()]).await.unwrap(),
            [true, true, false]
        );
        history.record_shown(std::slice::from_ref(&one)).await.unwrap();
        assert_eq!(history.unseen(&[one.clone(), two.clone()]).await.unwrap(), [false, true]);
        history.record_shown(&[one, two]).await.unwrap();
        history.close().await;
        let again = History::open(&path).await.unwrap();
        assert_eq!(texts(&again).await, ["one", "two"]);
    });
}

#[test]
fn one_id_of_two_senders_is_two_messages() {
    with_history(|history, _| async move {
        let bob = received(1, [1; 16], "from bob");
        let carol = Entry {
            sender: "carol".into(),
            conversation: target("@carol"),
            ..received(2, [1; 16], "from carol")
        };
        history.record_shown(&[bob]).await.unwrap();
        assert_eq!(history.unseen(std::slice::from_ref(&carol)).await.unwrap(), [true]);
    });
}

#[test]
fn a_note_to_oneself_is_shown_when_it_comes_back() {
    with_history(|history, _| async move {
        queue(&history, [3; 16], "note").await;
        let back = Entry { sender: "alice".into(), ..received(4, [3; 16], "note") };
        assert_eq!(history.unseen(std::slice::from_ref(&back)).await.unwrap(), [true]);
        history.record_shown(std::slice::from_ref(&back)).await.unwrap();
        assert_eq!(history.unseen(&[back]).await.unwrap(), [false]);
        assert_eq!(texts(&history).await, ["note"]);
    });
}

#[test]
fn the_server_s_number_is_the_order() {
    with_history(|history, _| async move {
        history
            .record_shown(&[received(10, [1; 16], "first"), received(11, [2; 16], "second")])
            .await
            .unwrap();
        queue(&history, [3; 16], "fourth").await;
        queue(&history, [4; 16], "fifth").await;
        history.record_shown(&[received(12, [5; 16], "third")]).await.unwrap();
        history.record_accepted("alice", &[3; 16], 13, 1).await.unwrap();
        history.record_accepted("alice", &[4; 16], 14, 1).await.unwrap();
        assert_eq!(texts(&history).await, ["first", "second", "third", "fourth", "fifth"]);
        let last = history.conversation(&target("@bob"), 2).await.unwrap();
        assert_eq!(last.iter().map(Entry::text).collect::<Vec<_>>(), ["fourth", "fifth"]);
    });
}

#[test]
fn a_message_without_a_number_stays_where_it_was_written() {
    with_history(|history, _| async move {
        history.record_shown(&[received(10, [1; 16], "before")]).await.unwrap();
        queue(&history, [3; 16], "lost").await;
        history.record_state("alice", &[3; 16], State::Failed).await.unwrap();
        history.record_shown(&[received(11, [2; 16], "after")]).await.unwrap();
        assert_eq!(texts(&history).await, ["before", "lost", "after"]);
    });
}

#[test]
fn states_of_own_messages() {
    with_history(|history, _| async move {
        let state = async || history.conversation(&target("@bob"), 1).await.unwrap()[0].state;
        queue(&history, [3; 16], "x").await;
        assert_eq!(state().await, Some(State::Queued));
        history.record_state("alice", &[3; 16], State::Delivered).await.unwrap();
        history.record_accepted("alice", &[3; 16], 1, 1).await.unwrap();
        assert_eq!(state().await, Some(State::Delivered), "a late answer takes nothing back");
    });
}

#[test]
fn two_processes_write_one_history() {
    with_history(|history, path| async move {
        let other = History::open(&path).await.unwrap();
        for n in 0..20u8 {
            let (mine, theirs) =
                (received(u64::from(n), [n; 16], "m"), received(100 + u64::from(n), [100 + n; 16], "t"));
            let (a, b) =
                smol::future::zip(history.record_shown(&[mine]), other.record_shown(&[theirs])).await;
            a.and(b).unwrap();
        }
        assert_eq!(texts(&history).await.len(), 40);
    });
}

#[test]
fn the_files_are_private() {
    with_history(|history, path| async move {
        history.record_shown(&[received(1, [1; 16], "x")]).await.unwrap();
        let mode = |p: &Path| p.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        let journal = path.with_extension("sqlite-wal");
        assert_eq!(mode(&journal), 0o600);
    });
}

#[test]
fn a_json_line_has_the_fields_in_their_order() {
    let entry = received(7, [0xab; 16], "say \"hi\"\n\x1b");
    let id = "ab".repeat(16);
    assert_eq!(
        entry.json(true),
        format!(r#"{{"id":"{id}","time":993,"from":"bob","to":"@alice","text":"say \"hi\"\n\u001b"}}"#)
    );
    assert!(!entry.line().contains('\x1b'));
    let own = Entry { state: Some(State::Delivered), ..entry.clone() };
    assert_eq!(own.json(false), entry.json(true));
    assert!(own.json(true).ends_with(r#","state":"delivered"}"#));
}

#[test]
fn a_note_to_oneself_may_be_received_before_it_is_recorded_as_sent() {
    with_history(|history, _| async move {
        let me = target("@bob");
        let delivered = Entry { target: me.clone(), ..received(7, [7; 16], "to myself") };
        history.record_shown(&[delivered]).await.unwrap();
        let sent = Outgoing { sender: "bob", id: [7; 16], target: &me, time: 500, text: "to myself" };
        history.record_queued(&sent).await.unwrap();
        history.record_accepted("bob", &[7; 16], 7, 993).await.unwrap();
        assert_eq!(texts(&history).await, ["to myself"]);
    });
}
