//! Appointments of one person, who can be in one place at a time.

use super::desk::{Desk, Reply, num, row, text};
use super::{World, read, write};

pub(super) const WORLD: World = World {
    name: "calendar",
    fill: |draw| {
        draw.table("events", "E", 12, |draw| {
            let title = format!(
                "{} {}",
                draw.pick(&["Budget", "Design", "Team", "Sales"]),
                draw.pick(&["review", "lunch", "call"])
            );
            let (date, time) = (draw.date(), draw.time());
            let start = 60 * time[..2].parse::<i64>().unwrap_or(0) + time[3..].parse::<i64>().unwrap_or(0);
            row! {
                title: title, date: date, time: time, start: start, minutes: draw.int(1..=3) * 30,
                guests: ""
            }
        });
    },
    tools: &[
        write(
            "add_event(title: string, date: string, time: string, minutes: integer = 60)",
            "Put an event into the calendar where nothing else is.",
            |desk, args| {
                let (start, minutes) = (args.minutes("time")?, args.count("minutes", 1)?);
                free(desk, args.date("date")?, start, minutes, "")?;
                let mut event = args.row(["title", "date", "time", "minutes"]);
                event.extend(row! {start: start, guests: ""});
                desk.add("events", "E", event)
            },
        ),
        read("list_events(date: string)", "List the events of a day.", |desk, args| {
            args.date("date")?;
            desk.matching("events", args, ["date"])
        }),
        read("find_event(title: string)", "Find an event by its title.", |desk, args| {
            desk.matching("events", args, ["title"])
        }),
        write(
            "move_event(event: string, date: string, time: string)",
            "Move an event to another free time.",
            |desk, args| {
                let event = desk.get("events", args.text("event"))?;
                let (id, start) = (text(&event, "id"), args.minutes("time")?);
                free(desk, args.date("date")?, start, num(&event, "minutes") as i64, id)?;
                let mut columns = args.row(["date", "time"]);
                columns.insert("start".into(), start.into());
                desk.change("events", id, columns)
            },
        ),
        write("cancel_event(event: string)", "Take an event out of the calendar.", |desk, args| {
            desk.remove("events", args.text("event"))
        }),
        write("invite_guest(event: string, guest: string)", "Invite a person to an event.", |desk, args| {
            let event = desk.get("events", args.text("event"))?;
            let guest = args.text("guest");
            let mut guests: Vec<&str> =
                text(&event, "guests").split(", ").filter(|name| !name.is_empty()).collect();
            if guests.contains(&guest) {
                return Err(format!("{guest} is invited already").into());
            }
            guests.push(guest);
            guests.sort_unstable();
            desk.change("events", text(&event, "id"), row! {guests: guests.join(", ")})
        }),
    ],
};

/// Refuses a time at which another event goes on.
fn free(desk: &mut Desk<'_>, date: &str, start: i64, minutes: i64, own: &str) -> Reply<()> {
    let meets = |row: &crate::state::Row| {
        let (from, long) = (num(row, "start") as i64, num(row, "minutes") as i64);
        text(row, "id") != own && text(row, "date") == date && from < start + minutes && start < from + long
    };
    match desk.rows("events", meets)?.first() {
        Some(other) => Err(format!("{} is at that time", text(other, "title")).into()),
        None => Ok(()),
    }
}
