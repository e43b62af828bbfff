//! Doctors with free hours, appointments and prescriptions.

use super::desk::{num, number, row, text};
use super::{World, read, write};

pub(super) const WORLD: World = World {
    name: "healthcare",
    fill: |draw| {
        draw.named(
            "doctors",
            &["Adler", "Banerjee", "Castillo", "Dubois", "Eriksen", "Fontana"],
            |draw, _| {
                row! {
                    specialty: draw.pick(&["skin", "heart", "eyes", "teeth"]), city: draw.city(),
                    free_hours: draw.int(0..=4)
                }
            },
        );
        draw.table("prescriptions", "R", 10, |draw| {
            row! {
                patient: draw.person(), drug: draw.pick(&["ibuprofen", "insulin", "penicillin"]),
                refills: draw.int(0..=3)
            }
        });
    },
    tools: &[
        read(
            "find_doctors(specialty: skin|heart|eyes|teeth, city?: string)",
            "List doctors by what they treat.",
            |desk, args| desk.matching("doctors", args, ["specialty", "city"]),
        ),
        write(
            "see_doctor(doctor: string, patient: string, date: string)",
            "Take one free hour of a doctor for a patient.",
            |desk, args| {
                args.date("date")?;
                let doctor = desk.take("doctors", args.text("doctor"), "free_hours", 1.0)?;
                let mut visit = args.row(["patient", "date"]);
                visit.extend(row! {doctor: text(&doctor, "id"), status: "planned"});
                desk.add("visits", "V", visit)
            },
        ),
        write("cancel_visit(visit: string)", "Cancel a planned visit to a doctor.", |desk, args| {
            let visit = desk.advance("visits", args.text("visit"), "planned", "cancelled")?;
            desk.take("doctors", text(&visit, "doctor"), "free_hours", -1.0)?;
            Ok(visit["doctor"].clone())
        }),
        read(
            "list_prescriptions(patient: string)",
            "List the drugs that a patient may get.",
            |desk, args| desk.matching("prescriptions", args, ["patient"]),
        ),
        write(
            "refill_prescription(prescription: string)",
            "Use one refill and tell how many are left.",
            |desk, args| {
                let before = desk.take("prescriptions", args.text("prescription"), "refills", 1.0)?;
                number(num(&before, "refills") - 1.0)
            },
        ),
        read(
            "body_mass_index(kilograms: number, metres: number)",
            "Tell the body mass index of a person.",
            |_, args| {
                let (weight, height) = (args.amount("kilograms")?, args.amount("metres")?);
                number((10.0 * weight / (height * height)).round() / 10.0)
            },
        ),
    ],
};
