//! A shop: what is in the cart is out of stock for others, and an order can be cancelled until it is sent.

use super::desk::{num, number, row, same, text};
use super::{World, read, write};

pub(super) const WORLD: World =
    World {
        name: "shop",
        fill: |draw| {
            draw.table("products", "P", 20, |draw| {
                let kind = draw.pick(&["lamp", "chair", "mug", "bag", "clock"]);
                let name = format!("{} {kind}", draw.pick(&["red", "oak", "steel", "soft", "mini"]));
                row! {name: name, category: kind, price: draw.int(1..=40) * 5, stock: draw.int(0..=9)}
            });
            draw.table("orders", "O", 6, |draw| {
                let status = draw.pick(&["open", "open", "sent"]);
                row! {
                    product: draw.id_of("products"), quantity: draw.int(1..=3), address: draw.city(),
                    status: status
                }
            });
        },
        tools: &[
            read(
                "search_products(category: string, max_price?: number)",
                "List products of a category, up to a price.",
                |desk, args| {
                    let (category, most) =
                        (args.text("category"), args.number("max_price").unwrap_or(f64::INFINITY));
                    desk.find("products", |row| {
                        same(text(row, "category"), category) && num(row, "price") <= most
                    })
                },
            ),
            read("check_stock(product: string)", "Tell how many of a product are left.", |desk, args| {
                Ok(desk.get("products", args.text("product"))?["stock"].clone())
            }),
            write(
                "order_product(product: string, address: string, quantity: integer = 1)",
                "Order a product to an address.",
                |desk, args| {
                    let quantity = args.count("quantity", 1)?;
                    let product = desk.take("products", args.text("product"), "stock", quantity as f64)?;
                    let price = number(num(&product, "price") * quantity as f64)?;
                    let (product, address) = (text(&product, "id"), args.text("address"));
                    desk.add("orders", "O", row! {
                    product: product, quantity: quantity, address: address, price: price, status: "open"
                })
                },
            ),
            read(
                "track_order(order: string)",
                "Tell whether an order is open, sent or cancelled.",
                |desk, args| Ok(desk.get("orders", args.text("order"))?["status"].clone()),
            ),
            write("cancel_order(order: string)", "Cancel an order that is not sent yet.", |desk, args| {
                let order = desk.advance("orders", args.text("order"), "open", "cancelled")?;
                desk.take("products", text(&order, "product"), "stock", -num(&order, "quantity"))?;
                Ok("cancelled".into())
            }),
            write(
                "change_address(order: string, address: string)",
                "Send an open order to another address.",
                |desk, args| {
                    let order = desk.advance("orders", args.text("order"), "open", "open")?;
                    desk.change("orders", text(&order, "id"), args.row(["address"]))
                },
            ),
            write(
                "review_product(product: string, stars: integer, comment?: string)",
                "Rate a product with 1 to 5 stars.",
                |desk, args| {
                    let product = desk.get("products", args.text("product"))?;
                    if !(1..=5).contains(&args.count("stars", 1)?) {
                        return Err("a rating has 1 to 5 stars".into());
                    }
                    let mut review = args.row(["stars", "comment"]);
                    review.insert("product".into(), text(&product, "id").into());
                    desk.add("reviews", "R", review)
                },
            ),
        ],
    };
