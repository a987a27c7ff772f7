//! Functions that die after an effect they never heard of, wherever their work leads them.

use std::collections::BTreeSet;

use perennial_e2e::Account;
use serde_json::{Value, json};

/// A step whose first carrier dies of it: service and operation.
pub(crate) type Trap = (&'static str, &'static str);

/// Lays these traps, and lets each of these functions die in the middle of its next invocation, if it is idle: after
/// the first effect.
pub(crate) fn lay(account: &Account, functions: &[&str], traps: &[Trap]) {
    for function in functions {
        account.control("POST", "kill", &json!({"function": function}));
    }
    for (service, operation) in traps {
        let trap = json!([{"service": service, "operation": operation, "when": "timeout"}]);
        account.control("POST", "faults", &trap);
    }
}

/// Lets a story go on amid the traps, to its end.
pub(crate) async fn amid(account: &Account, traps: &[Trap], story: impl Future<Output = ()>) {
    tokio::select! {
        () = reap(account, traps) => unreachable!("it never ends by itself"),
        () = story => {}
    }
}

/// Asserts that each of these functions has died, and somebody of each trap.
pub(crate) fn assert_sprung(account: &Account, functions: &[&str], traps: &[Trap]) {
    let killed = account.invocations();
    let killed: Vec<&Value> = killed.iter().filter(|it| it["outcome"] == "killed").collect();
    let died: BTreeSet<&str> = killed.iter().filter_map(|it| it["function"].as_str()).collect();
    assert_eq!(died, functions.iter().copied().collect(), "each has died");
    let calls = account.calls(0);
    let unheard = calls.iter().filter(|it| it["status"] == 0).filter_map(|it| it["operation"].as_str());
    let unheard: BTreeSet<&str> = unheard.collect();
    let spared: Vec<&str> =
        traps.iter().map(|(_, operation)| *operation).filter(|it| !unheard.contains(it)).collect();
    assert!(spared.is_empty(), "each step was died of: {spared:?}");
    assert!(killed.len() >= traps.len(), "{killed:#?}");
}

/// Kills whoever hangs in the call of a trap, whose effect has come about.
async fn reap(account: &Account, traps: &[Trap]) {
    let mut seen = account.last_call();
    let mut sprung = BTreeSet::new();
    loop {
        let hung = account
            .until("somebody hangs in a call", async || {
                let calls = account.calls(seen);
                seen = calls.last().and_then(|call| call["seq"].as_u64()).unwrap_or(seen);
                let hung: Vec<Value> = calls.into_iter().filter(|call| call["status"] == 0).collect();
                (!hung.is_empty()).then_some(hung)
            })
            .await;
        for call in hung {
            let Some(trap) = traps.iter().find(|(_, operation)| call["operation"] == *operation) else {
                continue;
            };
            if sprung.insert(trap) {
                account.control("POST", "kill", &json!({"function": call["function"]}));
            }
        }
        if sprung.len() == traps.len() {
            std::future::pending::<()>().await;
        }
    }
}
