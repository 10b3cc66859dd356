//! Durable before acknowledged: the order of the server's system calls, and how many syncs messages cost.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use smol::LocalExecutor;
use sordino::{
    session::{Identity, Session},
    text::target::Target,
};
use sordino_tests::e2e::{
    Host,
    crowd::{options, register, send_each},
    host::WIDE_LIMITS,
    trace::{self, Call},
};

use crate::PROGRAMS;

/// The write-ahead log of the server's database.
const LOG: &str = "-wal";

fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn traced(config: &str) -> Host {
    let mut host = Host::new(PROGRAMS);
    host.wrapper = trace::wrapper(&host.path("trace"));
    host.configure(config);
    host.up();
    host
}

/// Red with `synchronous = OFF` or `NORMAL`, and when ACCEPTED is queued before the commit returned.
#[test]
fn accepted_leaves_after_the_log_is_synced() {
    if !trace::available("accepted_leaves_after_the_log_is_synced") {
        return;
    }
    const MESSAGES: usize = 20;
    let mut host = traced("");
    let (start, options) = (Instant::now(), options(&host, 2));
    let (from, to) = smol::block_on(async {
        let mut session = register(&Identity::in_memory(), &options, "alice").await.expect("alice registers");
        let begin = unix_now();
        let nobody_reads = Target::User("alice".into());
        send_each(&mut session, &nobody_reads, MESSAGES).await.expect("messages are accepted");
        let end = unix_now();
        session.close().await;
        (begin, end)
    });
    host.terminate().exits(0);
    let calls = trace::read(&host.path("trace"));
    let during: Vec<&Call> = calls.iter().filter(|c| (from..to).contains(&c.time)).collect();
    let mut checked = 0;
    for (heard, answered) in exchanges(&during) {
        let synced = during.iter().any(|c| c.synced(LOG) && c.begun > heard.done && c.done < answered.begun);
        assert!(synced, "no sync of the log between\n{heard:?}\nand\n{answered:?}\nof {during:#?}");
        checked += 1;
    }
    // On a busy machine the tracer's clock moves one or the other out of the time looked at.
    assert!(checked * 2 >= MESSAGES, "only {checked} exchanges were seen in {:?}", start.elapsed());
}

/// Each SEND that came, and the first bytes that left behind it.
fn exchanges<'a>(calls: &[&'a Call]) -> Vec<(&'a Call, &'a Call)> {
    let mut heard: Option<&Call> = None;
    let mut pairs = Vec::new();
    for call in calls {
        if call.carried(false) {
            heard = Some(call);
        } else if call.carried(true) {
            pairs.extend(heard.take().map(|heard| (heard, *call)));
        }
    }
    pairs
}

/// Red when every message has a transaction of its own.
#[test]
fn a_hundred_concurrent_senders_cost_less_than_a_fifth_of_a_sync_each() {
    if !trace::available("a_hundred_concurrent_senders_cost_less_than_a_fifth_of_a_sync_each") {
        return;
    }
    const SENDERS: usize = 100;
    const EACH: usize = 20;
    let mut host = traced(WIDE_LIMITS);
    let options = options(&host, 1);
    let (from, to) = smol::block_on(async {
        let executor = LocalExecutor::new();
        let mut senders: Vec<Session> = Vec::new();
        for at in 0..SENDERS {
            let identity = Identity::in_memory();
            senders.push(
                register(&identity, &options, &format!("sender{at}")).await.expect("a sender registers"),
            );
        }
        let begin = unix_now();
        let sending: Vec<_> = senders
            .into_iter()
            .enumerate()
            .map(|(at, mut session)| {
                let to = Target::User(format!("sender{}", (at + 1) % SENDERS));
                executor.spawn(async move { send_each(&mut session, &to, EACH).await.map(|()| session) })
            })
            .collect();
        let sessions = executor.run(async {
            let mut sessions = Vec::new();
            for task in sending {
                sessions.push(task.await.expect("all messages are accepted"));
            }
            sessions
        });
        let sessions = sessions.await;
        let end = unix_now();
        drop(sessions);
        (begin, end)
    });
    host.terminate().exits(0);
    let calls = trace::read(&host.path("trace"));
    let syncs = calls.iter().filter(|c| c.name.ends_with("sync") && (from..to).contains(&c.time)).count();
    let messages = SENDERS * EACH;
    let each = syncs as f64 / messages as f64;
    println!(
        "{SENDERS} senders, {messages} messages, {syncs} syncs: {each:.4} a message, {:.1} s",
        to - from
    );
    assert!(syncs > 0, "nothing was synced");
    assert!(each < 0.2, "{syncs} syncs for {messages} messages");
}
