//! A house: lamps, heaters and locks by room.

use super::desk::{number, row, text};
use super::{World, read, write};

const ROOMS: [&str; 5] = ["kitchen", "bedroom", "office", "bathroom", "garage"];

pub(super) const WORLD: World = World {
    name: "iot",
    fill: |draw| {
        draw.named("rooms", &ROOMS, |draw, _| {
            row! {lamp: draw.pick(&["on", "off"]), brightness: draw.int(1..=10) * 10, degrees: draw.int(15..=24),
            target: draw.int(16..=22), door: draw.pick(&["locked", "unlocked"]), humidity: draw.int(30..=70)}
        });
    },
    tools: &[
        write(
            "switch_lamp(room: string, state: on|off)",
            "Switch the lamp of a room on or off.",
            |desk, args| desk.change("rooms", args.text("room"), row! {lamp: args.text("state")}),
        ),
        write(
            "dim_lamp(room: string, brightness: integer)",
            "Set how bright the lamp of a room shines, in percent.",
            |desk, args| {
                let room = desk.get("rooms", args.text("room"))?;
                let brightness = args.count("brightness", 0)?;
                match (text(&room, "lamp"), brightness) {
                    ("off", _) => Err("the lamp is off".into()),
                    (_, 101..) => Err("brightness is a percentage".into()),
                    _ => desk.change("rooms", text(&room, "id"), row! {brightness: brightness}),
                }
            },
        ),
        write(
            "set_heating(room: string, degrees: number)",
            "Set to what temperature a room is heated.",
            |desk, args| {
                let degrees = args.num("degrees");
                if !(5.0..=30.0).contains(&degrees) {
                    return Err("heating goes from 5 to 30 degrees".into());
                }
                desk.change("rooms", args.text("room"), row! {target: number(degrees)?})
            },
        ),
        read(
            "read_sensor(room: string, sensor: degrees|humidity)",
            "Measure the temperature or humidity of a room.",
            |desk, args| Ok(desk.get("rooms", args.text("room"))?[args.text("sensor")].clone()),
        ),
        write("lock_door(room: string)", "Lock the door of a room.", |desk, args| {
            desk.change("rooms", args.text("room"), row! {door: "locked"})
        }),
        write(
            "unlock_door(room: string, code: string)",
            "Open the lock of a door with the code of the house.",
            |desk, args| {
                // The same in every house, so that a question can say it.
                match args.text("code") {
                    "2468" => desk.change("rooms", args.text("room"), row! {door: "unlocked"}),
                    _ => Err("the code is wrong".into()),
                }
            },
        ),
    ],
};
