//! Courses with seats, students and their grades.

use super::desk::{num, number, row, same, text};
use super::{World, read, write};

pub(super) const WORLD: World = World {
    name: "education",
    fill: |draw| {
        draw.table("courses", "C", 12, |draw| {
            let subject = draw.pick(&["history", "physics", "music", "law"]);
            row! {
                subject: subject, level: draw.pick(&["basic", "advanced"]), teacher: draw.person(),
                seats: draw.int(0..=5)
            }
        });
        draw.table("enrolments", "N", 8, |draw| {
            row! {course: draw.id_of("courses"), student: draw.person(), grade: draw.int(4..=10)}
        });
    },
    tools: &[
        read(
            "find_courses(subject: string, level?: basic|advanced)",
            "List courses of a subject with their free seats.",
            |desk, args| desk.matching("courses", args, ["subject", "level"]),
        ),
        write(
            "enrol_student(course: string, student: string)",
            "Give a student a seat in a course.",
            |desk, args| {
                let course = desk.take("courses", args.text("course"), "seats", 1.0)?;
                let (course, student) = (text(&course, "id"), args.text("student"));
                let twice = desk.rows("enrolments", |row| {
                    text(row, "course") == course && same(text(row, "student"), student)
                })?;
                match twice.is_empty() {
                    true => desk.add("enrolments", "N", row! {course: course, student: student}),
                    false => Err(format!("{student} is in this course already").into()),
                }
            },
        ),
        write("leave_course(enrolment: string)", "End an enrolment and free its seat.", |desk, args| {
            let gone = desk.get("enrolments", args.text("enrolment"))?;
            desk.take("courses", text(&gone, "course"), "seats", -1.0)?;
            desk.remove("enrolments", text(&gone, "id"))
        }),
        write(
            "grade_student(enrolment: string, grade: integer)",
            "Give the grade of an enrolment, from 1 to 10.",
            |desk, args| match args.count("grade", 1)? {
                grade @ 1..=10 => desk.change("enrolments", args.text("enrolment"), row! {grade: grade}),
                _ => Err("grades go from 1 to 10".into()),
            },
        ),
        read("average_grade(student: string)", "Tell the mean of the grades of a student.", |desk, args| {
            let graded = desk.rows("enrolments", |row| {
                same(text(row, "student"), args.text("student")) && row.contains_key("grade")
            })?;
            match graded.len() {
                0 => Err(format!("{} has no grades", args.text("student")).into()),
                n => number(graded.iter().map(|row| num(row, "grade")).sum::<f64>() / n as f64),
            }
        }),
    ],
};
