//! Restaurants: tables that can be taken, dishes that can be ordered.

use super::desk::{num, number, row, same, text};
use super::{World, read, write};

pub(super) const WORLD: World = World {
    name: "food",
    fill: |draw| {
        let names = [
            "Blue Fig",
            "Casa Lola",
            "Red Wok",
            "Old Mill",
            "Green Olive",
            "Harbour Grill",
            "Little Delhi",
            "La Piazza",
        ];
        draw.named("restaurants", &names, |draw, _| {
            let cuisine = draw.pick(&["italian", "indian", "chinese", "greek"]);
            row! {cuisine: cuisine, city: draw.city(), free_chairs: draw.int(0..=12)}
        });
        draw.table("dishes", "D", 24, |draw| {
            let dish = format!(
                "{} {}",
                draw.pick(&["spicy", "grilled", "creamy"]),
                draw.pick(&["noodles", "fish", "soup", "rice"])
            );
            row! {restaurant: draw.id_of("restaurants"), dish: dish, price: draw.int(6..=30)}
        });
    },
    tools: &[
        read(
            "find_restaurants(cuisine: string, city?: string)",
            "List restaurants by what they cook.",
            |desk, args| desk.matching("restaurants", args, ["cuisine", "city"]),
        ),
        read(
            "show_menu(restaurant: string, max_price?: number)",
            "List the dishes of a restaurant, up to a price.",
            |desk, args| {
                let house = desk.get("restaurants", args.text("restaurant"))?;
                let most = args.number("max_price").unwrap_or(f64::INFINITY);
                desk.find("dishes", |dish| dish["restaurant"] == house["id"] && num(dish, "price") <= most)
            },
        ),
        write(
            "reserve_table(restaurant: string, name: string, guests: integer)",
            "Reserve chairs at a restaurant.",
            |desk, args| {
                let guests = args.count("guests", 1)?;
                let house =
                    desk.take("restaurants", args.text("restaurant"), "free_chairs", guests as f64)?;
                desk.add(
                    "reservations",
                    "T",
                    row! {restaurant: text(&house, "id"), name: args.text("name"), guests: guests},
                )
            },
        ),
        write(
            "cancel_table(restaurant: string, name: string)",
            "Give a reserved table back.",
            |desk, args| {
                let (house, name) = (args.text("restaurant"), args.text("name"));
                let all = desk.rows("reservations", |row| {
                    same(text(row, "restaurant"), house) && same(text(row, "name"), name)
                })?;
                let table = all.first().ok_or_else(|| format!("{name} has no table at {house}"))?;
                desk.take("restaurants", house, "free_chairs", -num(table, "guests"))?;
                desk.remove("reservations", text(table, "id"))
            },
        ),
        write(
            "order_dish(dish: string, address: string, portions: integer = 1)",
            "Order a dish by its number to an address.",
            |desk, args| {
                let (dish, portions) = (desk.get("dishes", args.text("dish"))?, args.count("portions", 1)?);
                let price = number(num(&dish, "price") * portions as f64)?;
                desk.add(
                    "deliveries",
                    "L",
                    row! {
                        dish: text(&dish, "id"), address: args.text("address"), portions: portions,
                        price: price
                    },
                )
            },
        ),
    ],
};
