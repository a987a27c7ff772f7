//! What a person is shown of the group at one moment: its members, and its backups.

use std::collections::BTreeMap;

use serde_json::Value;

use super::look::{Backup, Observed};
use crate::board::{Board, Fact, Row, Table};
use crate::members::{Guests, Member};
use crate::render::{clock, or_dash, seconds, writes};
use crate::stage::Moment;

/// Headings of the table of members.
const MEMBERS: [&str; 5] = ["member", "phase", "from image", "on disk", "instance"];
/// Headings of the table of backups.
const BACKUPS: [&str; 5] = ["backup", "state", "taken", "of", ""];

/// Puts a view together; `on_disk` is what is on the disk of each member's instance.
pub(super) fn view(
    seen: &Observed,
    moment: Moment<'_>,
    guests: &Guests,
    on_disk: &BTreeMap<String, u64>,
) -> Board {
    let on_disk = |name: &str| on_disk.get(name).copied().unwrap_or_default();
    let members = seen.look.members();
    let members = members.iter().map(|it| member(it, guests, on_disk(&it.name))).collect();
    let effective = seen.effective();
    let taken = |it: &Backup| it.taken.map(|taken| clock(seconds(moment.start, taken))).unwrap_or_default();
    let backups = seen.backups();
    let backups =
        backups.iter().map(|it| backup(it, &taken(it), effective.as_ref() == Some(&it.image))).collect();
    let item = seen.look.item.clone().map_or(Value::Null, Value::Object);
    Board {
        at: seconds(moment.start, seen.look.now),
        stage: moment.stage.to_owned(),
        wants: if item.is_null() { String::new() } else { wants(&seen.name, &item) },
        tables: vec![
            Table { headings: MEMBERS.to_vec(), rows: members },
            Table { headings: BACKUPS.to_vec(), rows: backups },
        ],
        told: seen.look.notices(),
    }
}

fn wants(group: &str, item: &Value) -> String {
    let frequency = item["imageBackup"]["frequency"].as_str().unwrap_or_default();
    let (capacity, keep) = (&item["capacity"], &item["imageBackup"]["keep"]);
    format!("{group}: capacity {capacity}, backups {frequency}, {keep} kept")
}

fn member(member: &Member, guests: &Guests, on_disk: u64) -> Row {
    let writing = guests.of(&member.name).writing;
    let there = if member.live.is_empty() { 0 } else { on_disk };
    let cells = vec![or_dash(&member.image), writes(there, writing), or_dash(&member.instance)];
    let from = if member.image.is_empty() { String::new() } else { format!(" from {}", member.image) };
    let instance = Fact::new(&member.instance, format!("{}{from}", member.instance));
    member.row(cells, vec![instance], (writing, ("on its disk", on_disk)))
}

fn backup(it: &Backup, taken: &str, effective: bool) -> Row {
    let effect = if effective { "members start from it" } else { "" };
    let cells =
        vec![it.image.clone(), it.state.clone(), or_dash(taken), or_dash(&it.source), effect.to_owned()];
    Row {
        name: it.image.clone(),
        label: "backup".to_owned(),
        cells,
        facts: vec![
            Fact::new(&it.state, format!("{} of {}: {}", it.image, or_dash(&it.source), it.state)),
            Fact::new(effect, format!("{}: {effect} from now on", it.image)),
        ],
        waits: None,
        removed: Some(format!("{}: removed", it.image)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Shown;

    fn board(image: &str, state: &str, effective: bool) -> Board {
        let of = Backup {
            image: image.to_owned(),
            state: state.to_owned(),
            source: "i-1".to_owned(),
            ..Backup::default()
        };
        let rows = vec![backup(&of, "+01:01", effective)];
        Board { tables: vec![Table { headings: BACKUPS.to_vec(), rows }], ..Board::default() }
    }

    #[test]
    fn a_backup_is_told_when_it_comes_when_it_counts_and_when_it_goes() {
        let (none, pending) = (Board::default(), board("ami-1", "pending", false));
        let (counts, other) = (board("ami-1", "available", true), board("ami-2", "pending", false));
        assert_eq!(pending.changes(&none), ["+00:00 backup     ami-1 of i-1: pending"]);
        assert_eq!(
            counts.changes(&pending),
            [
                "+00:00 backup     ami-1 of i-1: available",
                "+00:00 backup     ami-1: members start from it from now on",
            ]
        );
        assert_eq!(
            other.changes(&counts),
            ["+00:00 backup     ami-2 of i-1: pending", "+00:00 backup     ami-1: removed"]
        );
        assert_eq!(counts.tables[0].rows[0].cells[2..], ["+01:01", "i-1", "members start from it"]);
    }
}
