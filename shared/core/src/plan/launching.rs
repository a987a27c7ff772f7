//! Launching: the ladder, and the answer that never came.
//!
//! A launch is written down whole before it is sent. From then on the question is never "shall we launch"
//! but "what became of it": read by token and by key first, repeated identically only while the token is
//! young, and given up only when reads have shown nothing for ten minutes.

use jiff::Timestamp;

use super::{Draft, Present, Then, data, interface, living, present, recovery, resting};
use crate::config::DesiredState;
use crate::ids::VolumeId;
use crate::launch::{Market, Obstacle, mapped, resolve};
use crate::limits;
use crate::names::has_key;
use crate::observation::{InstanceFacts, InstanceState, Observation};
use crate::phase::{Illegal, Signal};
use crate::record::{Instance, LaunchIntent, Unseen};
use crate::step::Step;

pub(super) fn launching(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    if draft.record.instance.is_some() {
        return watch(draft, seen);
    }
    if draft.record.intent.is_some() {
        return follow_up(draft, seen);
    }
    if draft.record.goal != DesiredState::Running {
        // What rests is captured first, as far as it is there.
        return match data::to_rest(draft, seen)? {
            Some(then) => Ok(then),
            None => resting::rest(draft),
        };
    }
    if let Some(wait) = draft.paused() {
        return Ok(wait);
    }
    if let Some(then) = recovery::recover(draft, seen)? {
        return Ok(then);
    }
    if let Some(then) = data::recover(draft, seen)? {
        return Ok(then);
    }
    if let Some(then) = interface::ready(draft, seen) {
        return Ok(then);
    }
    Ok(climb(draft, seen))
}

/// Sends the launch of the present rung, or rests when there is none left.
fn climb(draft: &mut Draft<'_>, seen: &Observation) -> Then {
    match resolve(&draft.record, seen, draft.scope.deployment) {
        // One read that does not show a thing proves nothing: it may have been made a moment ago.
        Err(obstacle) if obstacle.code.ends_with("-missing") && !draft.is_stalled(limits::NEXT_TICK) => {
            draft.poll(obstacle.message)
        }
        Err(obstacle) => obstructed(draft, &obstacle),
        Ok(None) => {
            draft.record.rung = 0;
            let message = "no market, type or subnet of the ladder has capacity right now".to_owned();
            let remedy =
                "It is tried again every minute; add types to launch.instanceTypes to widen the ladder";
            draft.block("capacity", message, remedy, limits::LADDER_REST);
            draft.wait(limits::LADDER_REST, "capacity")
        }
        Ok(Some(request)) => {
            draft.record.stalled_since = None;
            draft.record.attempts += 1;
            // Whatever was raised until now, this launch serves it.
            draft.record.recycled = draft.record.config().recycle;
            draft.record.rolled = draft.record.config().roll;
            draft.record.launched = true;
            draft.note(format!(
                "launching {} {} in {} from {}",
                request.market.as_str(),
                request.instance_type,
                request.zone,
                request.image_id
            ));
            if draft.record.config().persist.data.is_some() {
                let root = seen.images.get(&request.image_id).map(|image| image.root_device.as_str());
                draft.record.mapped = mapped(&request, root.unwrap_or_default());
            }
            let now = draft.now();
            draft.record.intent = Some(LaunchIntent {
                request: request.clone(),
                since: now,
                quiet_since: None,
                unanswered: false,
                closed: None,
            });
            draft.act(Step::Launch(Box::new(request)))
        }
    }
}

pub(super) fn obstructed(draft: &mut Draft<'_>, obstacle: &Obstacle) -> Then {
    draft.block(obstacle.code, obstacle.message.clone(), &obstacle.remedy, limits::REFUSED_REST);
    draft.wait(limits::REFUSED_REST, obstacle.message.clone())
}

/// Finds out what became of a launch that was written down and perhaps sent.
fn follow_up(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    let Some(intent) = draft.record.intent.clone() else { return Ok(Then::Look) };
    let token = intent.request.token.clone();
    if let Some(found) = seen.by_token(&token) {
        adopt(draft, found);
        return Ok(Then::Look);
    }
    let made = seen.volumes.values().find(|volume| has_key(&volume.tags, &token));
    if let Some(volume) = made {
        // Its volumes exist, so the instance did: either reads lag, or it has long ended.
        return volume_without_instance(draft, volume.id.clone(), !volume.attached_to.is_empty());
    }
    let now = draft.now();
    let may_send = intent.closed.is_none()
        && draft.record.goal == DesiredState::Running
        && now.duration_since(intent.since) < limits::LAUNCH_TOKEN_LIFE;
    if may_send {
        // What became of the last try is not known, or it would not be sent again.
        if let Some(sent) = draft.record.intent.as_mut() {
            sent.unanswered = true;
        }
        return Ok(draft.act(Step::Launch(Box::new(intent.request))));
    }
    if quiet(draft, now) {
        let why = intent.closed.unwrap_or_else(|| "its answer never came".to_owned());
        draft.record.intent = None;
        draft.signal(Signal::CameToNothing, format!("the launch came to nothing: {why}"))?;
        return Ok(Then::Look);
    }
    Ok(draft.wait(limits::NEXT_TICK, "ten minutes of reads that show nothing of the last launch"))
}

fn volume_without_instance(draft: &mut Draft<'_>, volume: VolumeId, attached: bool) -> Result<Then, Illegal> {
    let now = draft.now();
    if attached || !quiet(draft, now) {
        return Ok(draft.wait(limits::NEXT_TICK, format!("the instance that {volume} was made for")));
    }
    // The instance lived and ended unseen; its volume may hold what its guest wrote.
    if let Some(intent) = draft.record.intent.take() {
        draft.note(format!("the launch {} made {volume}, and its instance is gone", intent.request.token));
        draft.descends_from(&intent.request.image_id);
        draft.record.unseen = Some(Unseen { key: intent.request.token, image_id: intent.request.image_id });
    }
    draft.ended(None)?;
    Ok(Then::Look)
}

/// Whether reads have shown nothing for long enough to mean it.
fn quiet(draft: &mut Draft<'_>, now: Timestamp) -> bool {
    let Some(intent) = draft.record.intent.as_mut() else { return true };
    let since = *intent.quiet_since.get_or_insert(now);
    now.duration_since(since) >= limits::QUIET
}

/// Takes an instance that a launch of this node made as the one of this cycle.
pub(crate) fn adopt(draft: &mut Draft<'_>, facts: &InstanceFacts) {
    if draft.record.config().persist.data.is_some() {
        let devices = draft.record.intent.iter().flat_map(|intent| intent.request.devices.iter());
        let stores: Vec<String> = devices.filter_map(|it| it.virtual_name.clone()).collect();
        if !stores.is_empty() {
            draft.note(format!("{} of {} do not come back: instance stores", stores.join(", "), facts.id));
        }
    }
    let key = draft.record.intent.take().map(|i| i.request.token).or_else(|| facts.client_token.clone());
    let heir = draft.descends_from(&facts.image);
    draft.record.instance = Some(Instance {
        id: facts.id.clone(),
        instance_type: facts.instance_type.clone(),
        zone: facts.zone.clone(),
        market: if facts.spot { Market::Spot } else { Market::OnDemand },
        image_id: facts.image.clone(),
        launched_at: facts.launched_at.map(crate::names::whole_second),
        key: key.unwrap_or_default(),
        heir,
        platform: facts.platform.clone(),
        missing_since: None,
        ran: false,
        ended_at: None,
        stop_noted: false,
        terminating: false,
    });
    draft.record.not_before = None;
    draft.record.stalled_since = None;
    draft.unblock();
    living::note_root(draft, facts);
    draft.note(format!("{} is {} {}", facts.id, facts.instance_type, facts.zone));
}

/// Watches the launched instance until it runs or has ended.
fn watch(draft: &mut Draft<'_>, seen: &Observation) -> Result<Then, Illegal> {
    let facts = match present(draft, seen)? {
        Present::Here(facts) => facts,
        Present::Otherwise(then) => return Ok(then),
    };
    living::note_root(draft, facts);
    let is_up = match facts.state {
        InstanceState::Running => Some("runs"),
        // Before anyone saw it running.
        InstanceState::Stopped => Some("has run, and is stopped"),
        _ => None,
    };
    if let Some(how) = is_up {
        if let Some(instance) = draft.record.instance.as_mut() {
            instance.ran = true;
        }
        draft.signal(Signal::Up, format!("{} {how}", facts.id))?;
        return Ok(Then::Look);
    }
    Ok(draft.expect(format!("{} to run", facts.id)))
}
