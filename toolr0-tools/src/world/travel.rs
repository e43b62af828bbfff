//! Flights, hotels and bookings: a booking takes seats or rooms, and its cancellation gives them back, once.

use super::desk::{num, number, row, text};
use super::{World, read, write};

pub(super) const WORLD: World = World {
    name: "travel",
    fill: |draw| {
        draw.table("flights", "F", 24, |draw| {
            let (origin, destination) = draw.route();
            row! {
                origin: origin, destination: destination, date: draw.date(),
                price: draw.int(4..=60) * 10, seats: draw.int(0..=6)
            }
        });
        draw.table("hotels", "H", 16, |draw| {
            let name = format!(
                "{} {}",
                draw.pick(&["Grand", "Old", "Royal", "Park"]),
                draw.pick(&["Inn", "Palace", "Lodge"])
            );
            row! {name: name, city: draw.city(), price: draw.int(5..=30) * 10, rooms: draw.int(0..=4)}
        });
        draw.table("bookings", "B", 6, |draw| {
            row! {
                kind: "flight", item: draw.id_of("flights"), name: draw.person(), number: 1,
                status: "booked"
            }
        });
    },
    tools: &[
        read(
            "search_flights(origin: string, destination?: string, date?: string)",
            "List flights from a city with price and free seats.",
            |desk, args| desk.matching("flights", args, ["origin", "destination", "date"]),
        ),
        write(
            "book_flight(flight: string, name: string, seats: integer = 1)",
            "Book seats on a flight for a traveller.",
            |desk, args| {
                let seats = args.count("seats", 1)?;
                let flight = desk.take("flights", args.text("flight"), "seats", seats as f64)?;
                let item = text(&flight, "id");
                desk.add(
                    "bookings",
                    "B",
                    row! {
                        kind: "flight", item: item, name: args.text("name"), number: seats, status: "booked"
                    },
                )
            },
        ),
        read(
            "find_hotels(city: string, max_price?: number)",
            "List hotels of a city, up to a price per night.",
            |desk, args| {
                let most = args.number("max_price").unwrap_or(f64::INFINITY);
                let city = args.text("city");
                desk.find("hotels", |hotel| {
                    super::desk::same(text(hotel, "city"), city) && num(hotel, "price") <= most
                })
            },
        ),
        write(
            "book_hotel(hotel: string, guest: string, nights: integer)",
            "Book a room of a hotel for some nights.",
            |desk, args| {
                let nights = args.count("nights", 1)?;
                let hotel = desk.take("hotels", args.text("hotel"), "rooms", 1.0)?;
                let price = number(num(&hotel, "price") * nights as f64)?;
                let item = text(&hotel, "id");
                desk.add(
                    "bookings",
                    "B",
                    row! {
                        kind: "hotel", item: item, name: args.text("guest"), number: 1, nights: nights,
                        price: price, status: "booked"
                    },
                )
            },
        ),
        write("cancel_booking(booking: string)", "Cancel a flight or hotel booking.", |desk, args| {
            let booking = desk.advance("bookings", args.text("booking"), "booked", "cancelled")?;
            let (table, column) =
                if text(&booking, "kind") == "hotel" { ("hotels", "rooms") } else { ("flights", "seats") };
            desk.take(table, text(&booking, "item"), column, -num(&booking, "number"))?;
            Ok("cancelled".into())
        }),
        read("list_bookings(name: string)", "List the bookings of one traveller.", |desk, args| {
            desk.matching("bookings", args, ["name"])
        }),
    ],
};
