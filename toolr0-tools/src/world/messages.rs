//! A mailbox and an address book: what is sent to a contact lands in the outbox, what is read is marked.

use super::desk::{row, same, text};
use super::seeder::PEOPLE;
use super::{World, read, write};

pub(super) const WORLD: World = World {
    name: "messages",
    fill: |draw| {
        draw.named("contacts", &PEOPLE[..10], |draw, _| {
            row! {phone: format!("555-{:04}", draw.int(0..=9999)), blocked: false}
        });
        draw.table("inbox", "M", 12, |draw| {
            let text = format!(
                "{} {}",
                draw.pick(&["See you", "Call me", "I am late", "It works"]),
                draw.pick(&["today", "soon", "at noon"])
            );
            row! {sender: draw.person(), text: text, read: draw.int(0..=1) == 1}
        });
    },
    tools: &[
        write("send_message(recipient: string, text: string)", "Send a text to a contact.", |desk, args| {
            let contact = desk.get("contacts", args.text("recipient"))?;
            if contact["blocked"] == true {
                return Err("this contact is blocked".into());
            }
            desk.add("outbox", "S", row! {recipient: text(&contact, "id"), text: args.text("text")})
        }),
        read(
            "list_messages(sender?: string, unread_only: boolean = false)",
            "List received messages.",
            |desk, args| {
                let (sender, unread) = (args.text("sender"), args.0["unread_only"] == true);
                let from = |row: &crate::state::Row| sender.is_empty() || same(text(row, "sender"), sender);
                desk.find("inbox", |row| from(row) && !(unread && row["read"] == true))
            },
        ),
        write(
            "read_message(message: string)",
            "Open an unread message and mark it as read.",
            |desk, args| {
                let message = desk.get("inbox", args.text("message"))?;
                desk.change("inbox", text(&message, "id"), row! {read: true})?;
                Ok(message["text"].clone())
            },
        ),
        write("delete_message(message: string)", "Delete a received message.", |desk, args| {
            desk.remove("inbox", args.text("message"))
        }),
        write(
            "add_contact(name: string, phone: string)",
            "Put a person into the address book.",
            |desk, args| {
                if desk.has("contacts", args.text("name"))? {
                    return Err("there is a contact of this name".into());
                }
                desk.put("contacts", args.text("name"), row! {phone: args.text("phone"), blocked: false})
            },
        ),
        read("find_contact(name: string)", "Look a phone number up.", |desk, args| {
            Ok(desk.get("contacts", args.text("name"))?["phone"].clone())
        }),
        write("block_contact(name: string)", "Take no more messages from or to a contact.", |desk, args| {
            desk.change("contacts", args.text("name"), row! {blocked: true})
        }),
    ],
};
