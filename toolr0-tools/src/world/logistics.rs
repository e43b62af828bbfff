//! Parcels on their way.

use super::desk::{num, number, row, text};
use super::{World, read, write};

pub(super) const WORLD: World = World {
    name: "logistics",
    fill: |draw| {
        draw.table("parcels", "K", 16, |draw| {
            let status = draw.pick(&["waiting", "waiting", "travelling", "delivered"]);
            row! {
                sender: draw.person(), recipient: draw.person(), city: draw.city(),
                kilograms: draw.int(1..=20), status: status
            }
        });
    },
    tools: &[
        read(
            "track_parcel(parcel: string)",
            "Tell whether a parcel waits, travels or was delivered.",
            |desk, args| Ok(desk.get("parcels", args.text("parcel"))?["status"].clone()),
        ),
        read(
            "list_parcels(recipient: string, city?: string)",
            "List the parcels for a person.",
            |desk, args| desk.matching("parcels", args, ["recipient", "city"]),
        ),
        read(
            "quote_shipping(kilograms: number, express: boolean = false)",
            "Tell what it costs to send a weight.",
            |_, args| {
                let rate = if args.0["express"] == true { 3.5 } else { 1.5 };
                number(4.0 + rate * args.amount("kilograms")?)
            },
        ),
        write(
            "send_parcel(sender: string, recipient: string, city: string, kilograms: number)",
            "Hand in a parcel for a person in a city.",
            |desk, args| {
                if args.amount("kilograms")? > 30.0 {
                    return Err("a parcel weighs 30 kilograms at most".into());
                }
                let mut parcel = args.row(["sender", "recipient", "city", "kilograms"]);
                parcel.insert("status".into(), "waiting".into());
                desk.add("parcels", "K", parcel)
            },
        ),
        write(
            "redirect_parcel(parcel: string, city: string)",
            "Send a waiting parcel to another city.",
            |desk, args| {
                let parcel = desk.advance("parcels", args.text("parcel"), "waiting", "waiting")?;
                desk.change("parcels", text(&parcel, "id"), args.row(["city"]))
            },
        ),
        write(
            "recall_parcel(parcel: string)",
            "Take a waiting parcel back and tell the refund.",
            |desk, args| {
                let parcel = desk.advance("parcels", args.text("parcel"), "waiting", "recalled")?;
                number(4.0 + 1.5 * num(&parcel, "kilograms"))
            },
        ),
    ],
};
