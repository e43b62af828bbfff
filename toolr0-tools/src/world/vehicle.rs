//! One car: its engine, doors, climate and tank.

use serde_json::Value;

use super::desk::{Desk, Reply, num, number, row, text};
use super::{World, read, write};
use crate::state::Row;

pub(super) const WORLD: World = World {
    name: "vehicle",
    fill: |draw| {
        draw.named("cars", &["car"], |draw, _| {
            row! {
                engine: "off", doors: draw.pick(&["locked", "unlocked"]), fuel: draw.int(5..=40),
                tank: 50, degrees: draw.int(16..=24), route: ""
            }
        });
        draw.named(
            "windows",
            &["driver", "passenger", "rear left", "rear right"],
            |draw, _| row! {open: draw.int(0..=4) * 25},
        );
    },
    tools: &[
        write("start_engine()", "Start the engine; doors have to be locked.", |desk, _| {
            match text(desk.get("cars", "car")?.as_ref(), "doors") {
                "locked" => set(desk, ("engine", "off", "on")),
                _ => Err("the doors are not locked".into()),
            }
        }),
        write("stop_engine()", "Stop the engine.", |desk, _| set(desk, ("engine", "on", "off"))),
        write("lock_doors()", "Lock all doors.", |desk, _| set(desk, ("doors", "unlocked", "locked"))),
        write("set_climate(degrees: number)", "Set the temperature inside the car.", |desk, args| match args
            .num("degrees")
        {
            degrees if (15.0..=30.0).contains(&degrees) => {
                desk.change("cars", "car", row! {degrees: number(degrees)?})
            }
            _ => Err("the climate goes from 15 to 30 degrees".into()),
        }),
        write(
            "open_window(window: string, percent: integer)",
            "Open a window to some percent; 0 closes it.",
            |desk, args| match args.count("percent", 0)? {
                percent @ ..=100 => desk.change("windows", args.text("window"), row! {open: percent}),
                _ => Err("a window opens to 100 percent".into()),
            },
        ),
        read("check_fuel()", "Tell how many litres are in the tank.", |desk, _| {
            Ok(desk.get("cars", "car")?["fuel"].clone())
        }),
        write(
            "fill_tank(litres: number)",
            "Fill litres into the tank while the engine is off.",
            |desk, args| {
                let (car, litres) = (desk.get("cars", "car")?, args.amount("litres")?);
                let fuel = num(&car, "fuel") + litres;
                match (text(&car, "engine"), fuel <= num(&car, "tank")) {
                    ("on", _) => Err("the engine is on".into()),
                    (_, false) => Err("so much does not go into the tank".into()),
                    _ => desk.change("cars", "car", row! {fuel: number(fuel)?}),
                }
            },
        ),
        write("set_route(destination: string)", "Set where the car drives to.", |desk, args| {
            desk.change("cars", "car", row! {route: args.text("destination")})
        }),
    ],
};

/// Moves one part of the car from one state to another, once.
fn set(desk: &mut Desk<'_>, (part, from, to): (&str, &str, &str)) -> Reply {
    if text(desk.get("cars", "car")?.as_ref(), part) != from {
        return Err(format!("{part}: {to} already").into());
    }
    desk.change("cars", "car", Row::from_iter([(part.to_owned(), Value::from(to))]))
}
