//! Accounts and transfers: money that leaves one account arrives in another, and none goes below zero.

use super::desk::{num, number, row, same, text};
use super::seeder::PEOPLE;
use super::{World, read, write};

pub(super) const WORLD: World = World {
    name: "finance",
    fill: |draw| {
        draw.table("accounts", "A", 12, |draw| {
            let index = draw.int(0..=15) as usize;
            row! {owner: PEOPLE[index], currency: draw.pick(&["EUR", "USD"]), balance: draw.int(0..=50) * 20}
        });
    },
    tools: &[
        read("get_balance(account: string)", "Tell how much money is on an account.", |desk, args| {
            Ok(desk.get("accounts", args.text("account"))?["balance"].clone())
        }),
        read("find_accounts(owner: string)", "List the accounts of a person.", |desk, args| {
            desk.matching("accounts", args, ["owner"])
        }),
        write(
            "transfer_money(source: string, target: string, amount: number)",
            "Send money from one account to another.",
            |desk, args| {
                let amount = args.amount("amount")?;
                let target = desk.get("accounts", args.text("target"))?;
                let source = desk.take("accounts", args.text("source"), "balance", amount)?;
                if text(&source, "id") == text(&target, "id") {
                    return Err("source and target are the same account".into());
                }
                if text(&source, "currency") != text(&target, "currency") {
                    return Err("the accounts have different currencies".into());
                }
                desk.take("accounts", text(&target, "id"), "balance", -amount)?;
                let (source, target) = (text(&source, "id"), text(&target, "id"));
                desk.add("transfers", "T", row! {source: source, target: target, amount: number(amount)?})
            },
        ),
        write(
            "deposit_cash(account: string, amount: number)",
            "Pay cash into an account and tell the new balance.",
            |desk, args| {
                let amount = args.amount("amount")?;
                let account = desk.take("accounts", args.text("account"), "balance", -amount)?;
                number(num(&account, "balance") + amount)
            },
        ),
        read("list_transfers(account: string)", "List what was sent from or to an account.", |desk, args| {
            let account = args.text("account");
            desk.find("transfers", |row| {
                same(text(row, "source"), account) || same(text(row, "target"), account)
            })
        }),
        write(
            "open_account(owner: string, currency: EUR|USD = EUR)",
            "Open an empty account.",
            |desk, args| {
                let mut account = args.row(["owner", "currency"]);
                account.insert("balance".into(), 0.into());
                desk.add("accounts", "A", account)
            },
        ),
        write("close_account(account: string)", "Close an account that has no money on it.", |desk, args| {
            let account = desk.get("accounts", args.text("account"))?;
            match num(&account, "balance") {
                0.0 => desk.remove("accounts", text(&account, "id")),
                _ => Err("there is still money on it".into()),
            }
        }),
    ],
};
