//! Ending an instance at the operator's word: what is kept is secured once more, then it is terminated.
//!
//! The data is never put at risk for speed: no termination is asked for before one read has shown that
//! nothing kept will be deleted with the instance.

use super::{Draft, Present, Then, data, living, present};
use crate::limits;
use crate::observation::{InstanceFacts, InstanceState, Observation};
use crate::phase::{Illegal, Signal};
use crate::step::{Step, Termination};

pub(super) fn stopping(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    let facts = match present(draft, seen)? {
        Present::Here(facts) => facts,
        Present::Otherwise(then) => return Ok(then),
    };
    living::note_root(draft, facts);
    let asked = draft.record.instance.as_ref().is_some_and(|instance| instance.terminating);
    if !asked && !draft.record.is_unwanted() {
        draft.signal(Signal::Spared, "the instance is wanted after all")?;
        return Ok(Then::Look);
    }
    match facts.state {
        InstanceState::Running | InstanceState::Stopped => {}
        InstanceState::Pending | InstanceState::Stopping => {
            return Ok(draft.expect(format!("{} to run or to be stopped", facts.id)));
        }
        InstanceState::ShuttingDown | InstanceState::Terminated => {
            return Ok(draft.expect(format!("{} to end", facts.id)));
        }
    }
    if let Some(then) = living::secure(draft, facts).or_else(|| data::note(draft, seen, facts)) {
        return Ok(then);
    }
    if draft.record.root.as_ref().is_some_and(|root| root.replaced_by.is_some()) {
        return Ok(draft.wait(limits::NEXT_TICK, "a second read of the root volume that was swapped"));
    }
    Ok(terminate(draft, facts))
}

/// The step that ends an instance, with all that must outlive it. From the moment it is written down the
/// instance counts as ending, whatever the answer.
pub(super) fn terminate(draft: &mut Draft<'_>, facts: &InstanceFacts) -> Then {
    if let Some(wait) = draft.paused() {
        return wait;
    }
    if let Some(instance) = draft.record.instance.as_mut() {
        instance.terminating = true;
    }
    let record = &draft.record;
    let kept = record.config().persist.root.is_some();
    let root = record.root.iter().filter(|_| kept).map(|root| root.volume_id.clone());
    let termination = Termination {
        instance: facts.id.clone(),
        volumes: root.chain(record.data.iter().map(|it| it.volume_id.clone())).collect(),
        interface: record.network.as_ref().map(|network| network.eni_id.clone()),
    };
    draft.act(Step::Terminate(termination))
}
