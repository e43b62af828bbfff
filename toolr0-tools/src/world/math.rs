//! Arithmetic. There is nothing to change here: every tool tells a number.

use super::desk::number;
use super::{World, read};

pub(super) const WORLD: World = World {
    name: "math",
    fill: |_| {},
    tools: &[
        read("add(a: number, b: number)", "Add two numbers.", |_, args| {
            number(args.num("a") + args.num("b"))
        }),
        read("multiply(a: number, b: number)", "Multiply two numbers.", |_, args| {
            number(args.num("a") * args.num("b"))
        }),
        read("divide(dividend: number, divisor: number)", "Divide one number by another.", |_, args| {
            match args.num("divisor") {
                0.0 => Err("a number cannot be divided by 0".into()),
                divisor => number(args.num("dividend") / divisor),
            }
        }),
        read("power(base: number, exponent: number)", "Raise a number to a power.", |_, args| {
            number(args.num("base").powf(args.num("exponent")))
        }),
        read("square_root(x: number)", "Tell the square root of a number.", |_, args| match args.num("x") {
            x if x < 0.0 => Err("a negative number has no real root".into()),
            x => number(x.sqrt()),
        }),
        read(
            "percentage(part: number, whole: number)",
            "Tell how many percent one number is of another.",
            |_, args| match args.num("whole") {
                0.0 => Err("nothing is a part of 0".into()),
                whole => number(100.0 * args.num("part") / whole),
            },
        ),
        read(
            "greatest_common_divisor(a: integer, b: integer)",
            "Tell the largest number that divides both.",
            |_, args| {
                let (mut a, mut b) = (args.count("a", 1)?, args.count("b", 1)?);
                while b != 0 {
                    (a, b) = (b, a % b);
                }
                Ok(a.into())
            },
        ),
        read(
            "round_number(x: number, digits: integer = 0)",
            "Round a number to some decimal places.",
            |_, args| {
                let scale = 10f64.powi(args.count("digits", 0)?.min(6) as i32);
                number((args.num("x") * scale).round() / scale)
            },
        ),
    ],
};
