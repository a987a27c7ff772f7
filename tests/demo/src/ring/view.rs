//! What a person is shown of the ring at one moment: each member with its addresses.

use super::look::Wanted;
use crate::board::{Board, Fact, Row, Table};
use crate::members::{Guests, Interface, Look, Member};
use crate::render::{or_dash, seconds, writes};
use crate::stage::Moment;

/// Headings of the table.
const HEADINGS: [&str; 6] = ["member", "phase", "address", "Elastic IP", "writes", "instance"];

/// Puts a view together.
pub(super) fn view(seen: &Look, moment: Moment<'_>, group: &str, guests: &Guests) -> Board {
    let rows = seen.members().iter().map(|member| row(member, guests)).collect();
    Board {
        at: seconds(moment.start, seen.now),
        stage: moment.stage.to_owned(),
        wants: if seen.item.is_some() { wants(group, &seen.wanted()) } else { String::new() },
        tables: vec![Table { headings: HEADINGS.to_vec(), rows }],
        told: seen.notices(),
    }
}

fn wants(group: &str, wanted: &Wanted) -> String {
    let pool = if wanted.pool.is_empty() { "empty".to_owned() } else { wanted.pool.join(" ") };
    format!("{group}: capacity {}, pool {pool}, Elastic IPs {}", wanted.capacity, wanted.elastic_ips.len())
}

fn row(member: &Member, guests: &Guests) -> Row {
    let guest = guests.of(&member.name);
    let joined =
        |part: fn(&Interface) -> &str| member.interfaces.iter().map(part).collect::<Vec<_>>().join(" ");
    let (address, interface) = (joined(|interface| &interface.address), joined(|interface| &interface.id));
    let elastic_ip = member.elastic_ips.join(" ");
    let instance = match (member.instance.is_empty(), interface.is_empty()) {
        (true, false) => format!("none, {interface} keeps the address"),
        (true, true) | (false, _) => or_dash(&member.instance),
    };
    let written = writes(guest.acknowledged, guest.writing);
    let cells = vec![or_dash(&address), or_dash(&elastic_ip), written, instance];
    let facts = vec![
        Fact::new(&interface, format!("{address} on {interface}")).ending(match interface.as_str() {
            "" => String::new(),
            _ => format!("{interface}: removed"),
        }),
        Fact::new(&elastic_ip, format!("Elastic IP {elastic_ip}")).ending(match elastic_ip.as_str() {
            "" => String::new(),
            _ => format!("Elastic IP {elastic_ip}: no more"),
        }),
        Fact::new(&member.instance, &*member.instance),
    ];
    member.row(cells, facts, (guest.writing, ("acknowledged so far", guest.acknowledged)))
}

#[cfg(test)]
mod tests {
    use perennial_core::phase::Phase;

    use super::*;

    fn member() -> Member {
        let interface = Interface {
            id: "eni-1".to_owned(),
            address: "10.0.1.21".to_owned(),
            status: "in-use".to_owned(),
        };
        Member {
            name: "ring-1".to_owned(),
            phase: Some(Phase::Running),
            cycle: 2,
            launched: true,
            reason: "why".to_owned(),
            instance: "i-1 m5.large spot running".to_owned(),
            interfaces: vec![interface],
            elastic_ips: vec!["198.18.0.1".to_owned()],
            ..Member::default()
        }
    }

    #[test]
    fn a_member_is_shown_with_its_addresses() {
        let row = row(&member(), &Guests::default());
        let cells = ["ring-1", "running 2", "10.0.1.21", "198.18.0.1", "-", "i-1 m5.large spot running"];
        assert_eq!((row.cells, row.waits), (cells.map(str::to_owned).to_vec(), None));
        let says: Vec<&str> = row.facts.iter().take(4).map(|fact| fact.says.as_str()).collect();
        let facts =
            ["running 2: why", "10.0.1.21 on eni-1", "Elastic IP 198.18.0.1", "i-1 m5.large spot running"];
        assert_eq!(says, facts);
    }

    #[test]
    fn a_member_at_rest_shows_what_keeps_its_address() {
        let (instance, elastic_ips) = (String::new(), Vec::new());
        let paused =
            Member { phase: Some(Phase::Paused), launched: false, instance, elastic_ips, ..member() };
        let cells = row(&paused, &Guests::default()).cells;
        assert_eq!(cells[1..], ["paused", "10.0.1.21", "-", "-", "none, eni-1 keeps the address"]);
    }

    #[test]
    fn what_a_member_loses_is_told_by_what_it_had() {
        let before = row(&member(), &Guests::default());
        let bare = Member { interfaces: Vec::new(), elastic_ips: Vec::new(), ..member() };
        let table = |row: Row| Table { headings: Vec::new(), rows: vec![row] };
        let board = |row: Row| Board { tables: vec![table(row)], ..Board::default() };
        use crate::screen::Shown;
        let lines = board(row(&bare, &Guests::default())).changes(&board(before));
        assert_eq!(
            lines,
            ["+00:00 ring-1     eni-1: removed", "+00:00 ring-1     Elastic IP 198.18.0.1: no more"]
        );
    }
}
