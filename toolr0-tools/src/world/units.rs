//! Conversion of units. There is nothing to change here.

use super::desk::{Args, Reply, number};
use super::{World, read};

/// Units by how much of the first of their list each is.
const LENGTHS: [(&str, f64); 5] =
    [("metre", 1.0), ("kilometre", 1000.0), ("mile", 1609.344), ("foot", 0.3048), ("inch", 0.0254)];
const WEIGHTS: [(&str, f64); 4] =
    [("kilogram", 1.0), ("gram", 0.001), ("pound", 0.453_592_37), ("ounce", 0.028_349_523_125)];
const VOLUMES: [(&str, f64); 4] =
    [("litre", 1.0), ("millilitre", 0.001), ("gallon", 3.785_411_784), ("pint", 0.473_176_473)];
const TIMES: [(&str, f64); 4] = [("second", 1.0), ("minute", 60.0), ("hour", 3600.0), ("day", 86_400.0)];

pub(super) const WORLD: World = World {
    name: "units",
    fill: |_| {},
    tools: &[
        read(
            "convert_length(value: number, source: metre|kilometre|mile|foot|inch, target: metre|kilometre|mile|foot|inch)",
            "Convert a length to another unit.",
            |_, args| convert(&LENGTHS, args),
        ),
        read(
            "convert_weight(value: number, source: kilogram|gram|pound|ounce, target: kilogram|gram|pound|ounce)",
            "Convert a weight to another unit.",
            |_, args| convert(&WEIGHTS, args),
        ),
        read(
            "convert_volume(value: number, source: litre|millilitre|gallon|pint, target: litre|millilitre|gallon|pint)",
            "Convert a volume to another unit.",
            |_, args| convert(&VOLUMES, args),
        ),
        read(
            "convert_time(value: number, source: second|minute|hour|day, target: second|minute|hour|day)",
            "Convert a span of time to another unit.",
            |_, args| convert(&TIMES, args),
        ),
        read("to_fahrenheit(celsius: number)", "Convert degrees Celsius to Fahrenheit.", |_, args| {
            number(args.num("celsius") * 1.8 + 32.0)
        }),
        read("to_celsius(fahrenheit: number)", "Convert degrees Fahrenheit to Celsius.", |_, args| {
            number((args.num("fahrenheit") - 32.0) / 1.8)
        }),
    ],
};

fn convert(units: &[(&str, f64)], args: Args<'_>) -> Reply {
    let size = |name| units.iter().find(|(unit, _)| *unit == args.text(name)).map(|(_, size)| *size);
    let (source, target) =
        (size("source").ok_or("an unknown unit")?, size("target").ok_or("an unknown unit")?);
    number(args.num("value") * source / target)
}
