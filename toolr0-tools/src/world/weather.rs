//! A table of forecasts, and alerts that people ask for.

use serde_json::Value;

use super::desk::{Args, Desk, Reply, num, row, same, text};
use super::seeder::CITIES;
use super::{World, read, write};
use crate::state::Row;

pub(super) const WORLD: World = World {
    name: "weather",
    fill: |draw| {
        for city in &CITIES[..10] {
            for day in 2..=6 {
                draw.named("forecasts", &[&format!("{city} 2026-03-{day:02}")], |draw, _| {
                    let low = draw.int(-5..=15);
                    row! {
                        city: *city, date: format!("2026-03-{day:02
                    }"), sky: draw.pick(&["clear", "cloudy", "rain", "snow"]),
                    low: low, high: low + draw.int(2..=9), rain: draw.int(0..=20), wind: draw.int(0..=60)}
                });
            }
        }
    },
    tools: &[
        read(
            "get_forecast(city: string, date: string)",
            "Tell sky, temperatures, rain and wind of a city on a day.",
            |desk, args| Ok(Value::Object(forecast(desk, args)?)),
        ),
        read(
            "get_rain(city: string, date: string)",
            "Tell how many millimetres of rain a city gets on a day.",
            |desk, args| Ok(forecast(desk, args)?["rain"].clone()),
        ),
        read("find_warmest_city(date: string)", "Tell which city is the warmest on a day.", |desk, args| {
            let date = args.date("date")?;
            let days = desk.rows("forecasts", |row| text(row, "date") == date)?;
            let best = days.iter().max_by(|a, b| num(a, "high").total_cmp(&num(b, "high")));
            best.map(|row| row["city"].clone())
                .ok_or_else(|| format!("there is no forecast for {date}").into())
        }),
        read(
            "list_days(city: string, sky: clear|cloudy|rain|snow)",
            "List the days on which a city has such a sky.",
            |desk, args| {
                let days = desk.rows("forecasts", |row| {
                    same(text(row, "city"), args.text("city")) && text(row, "sky") == args.text("sky")
                })?;
                Ok(days.iter().map(|row| row["date"].clone()).collect())
            },
        ),
        write(
            "set_alert(city: string, event: storm|frost|heat)",
            "Warn the user when something comes to a city.",
            |desk, args| {
                let key = format!("{} {}", args.text("city"), args.text("event"));
                match desk.has("alerts", &key)? {
                    true => Err("there is such an alert already".into()),
                    false => desk.put("alerts", &key, args.row(["city", "event"])),
                }
            },
        ),
    ],
};

fn forecast(desk: &mut Desk<'_>, args: Args<'_>) -> Reply<Row> {
    let key = format!("{} {}", args.text("city"), args.date("date")?);
    Ok(desk.get("forecasts", &key)?.as_ref().clone())
}
