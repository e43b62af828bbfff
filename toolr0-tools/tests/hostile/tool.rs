//! A program that tries what no tool may do, for the attack suite. A call's name says what; it answers with what it got
//! done: `{"value": [..]}`, one entry for everything that should have failed.
#![expect(clippy::print_stdout, reason = "stdout is where a tool answers")]

use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Signal, getppid, kill_process, kill_process_group, setsid};
use serde_json::{Value, json};

fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("a call on stdin");
    let call: Value = serde_json::from_str(&text).expect("a call as JSON");
    let done = match call["name"].as_str().unwrap_or_default() {
        "echo" => {
            println!("{}", json!({"value": call["arguments"]}));
            return;
        }
        "refuse" => {
            println!("{}", json!({"error": "there is none"}));
            return;
        }
        "crash" => {
            eprintln!("the disk is on fire");
            std::process::exit(3);
        }
        "babble" => {
            println!("hello");
            return;
        }
        "endless" => loop {
            std::hint::spin_loop();
        },
        "sleep" => {
            std::thread::sleep(Duration::from_secs(3600));
            Vec::new()
        }
        "allocate" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 1 << 20]);
                std::hint::black_box(&hoard);
            }
        }
        "recurse" => vec![recurse(0).to_string()],
        "flood" => {
            let line = [b'x'; 1 << 16];
            for _ in 0..(1 << 30) / line.len() {
                std::io::stdout().write_all(&line).expect("somebody reads");
            }
            Vec::new()
        }
        "flood_stderr" => loop {
            let _ = std::io::stderr().write_all(&[b'x'; 1 << 16]);
        },
        "nest" => {
            println!("{{\"value\": {}", "[".repeat(60_000));
            return;
        }
        "threads" => {
            let sleep = || std::thread::sleep(Duration::from_secs(3600));
            let small = || std::thread::Builder::new().stack_size(16 << 10);
            let started = (0..5000).take_while(|_| small().spawn(sleep).is_ok()).count();
            if started >= 5000 { vec![format!("{started} threads")] } else { Vec::new() }
        }
        "fork" => fork(),
        "read" => ["/etc/passwd", "/etc/hostname", "/proc/self/environ", "/proc/1/environ", "/root", "/tmp"]
            .into_iter()
            .filter(|path| std::fs::read(path).is_ok() || std::fs::read_dir(path).is_ok())
            .map(str::to_owned)
            .chain(std::fs::read(format!("/proc/{}/environ", parent())).is_ok().then(|| "parent".to_owned()))
            .collect(),
        "environment" => {
            println!("{}", json!({"value": std::env::vars().map(|(name, _)| name).collect::<Vec<_>>()}));
            return;
        }
        "write" => write(call["arguments"]["folder"].as_str().unwrap_or("/tmp")),
        "fill" => {
            for file in 0.. {
                if std::fs::write(file.to_string(), vec![0; 1 << 20]).is_err() {
                    break;
                }
            }
            std::thread::sleep(Duration::from_secs(3600));
            Vec::new()
        }
        "socket" => socket(),
        "kill" => kill(),
        name => vec![format!("there is no attack `{name}`")],
    };
    println!("{}", json!({"value": done}));
}

fn parent() -> i32 {
    getppid().map_or(1, |pid| pid.as_raw_nonzero().get())
}

#[expect(unconditional_recursion, reason = "that is the attack")]
fn recurse(depth: u64) -> u64 {
    let page = [depth; 512];
    1 + recurse(std::hint::black_box(page)[7] + 1)
}

/// Processes started in three ways. The parent of a test shall find none of them.
fn fork() -> Vec<String> {
    let mut done = Vec::new();
    for _ in 0..64 {
        if Command::new(std::env::args().next().unwrap_or_default()).spawn().is_ok() {
            done.push("spawn".to_owned());
        }
        if Command::new("/bin/sleep").arg("3600").spawn().is_ok() {
            done.push("sleep".to_owned());
        }
    }
    #[expect(unsafe_code, reason = "no safe interface forks")]
    // SAFETY: this program has one thread, and its child does nothing but sleep.
    let forked = unsafe { libc::fork() };
    match forked {
        0 => std::thread::sleep(Duration::from_secs(3600)),
        1.. => done.push("fork".to_owned()),
        _ => {}
    }
    done.extend(setsid().is_ok().then(|| "session".to_owned()));
    done
}

/// Files outside of the scratch directory, and ways out of it.
fn write(folder: &str) -> Vec<String> {
    assert!(std::fs::write("own", "here it may").is_ok(), "not even its own files");
    let outside = format!("{folder}/left-behind");
    let mut done = Vec::new();
    let mut tried = |what: &str, ok: bool| done.extend(ok.then(|| what.to_owned()));
    tried("write", std::fs::write(&outside, "x").is_ok());
    tried("up", std::fs::write("../left-behind", "x").is_ok());
    tried("folder", std::fs::create_dir("folder").is_ok());
    tried("symlink", std::os::unix::fs::symlink("/etc/passwd", "link").is_ok());
    tried("through a symlink", std::fs::read("link").is_ok());
    tried("hard link", std::fs::hard_link("/etc/passwd", "hard").is_ok());
    tried("rename", std::fs::rename("own", &outside).is_ok());
    tried("up and down", std::fs::read("../../../../../../etc/passwd").is_ok());
    tried("executable", Command::new("./own").spawn().is_ok());
    tried(
        "chmod",
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).is_ok(),
    );
    done
}

fn socket() -> Vec<String> {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};
    let tried = [
        ("connect", TcpStream::connect("127.0.0.1:80").is_ok()),
        ("listen", TcpListener::bind("127.0.0.1:0").is_ok()),
        ("datagram", UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("unix", UnixListener::bind("socket").is_ok()),
        ("pair", UnixDatagram::pair().is_ok()),
    ];
    tried.into_iter().filter(|(_, ok)| *ok).map(|(what, _)| what.to_owned()).collect()
}

fn kill() -> Vec<String> {
    let mut done = Vec::new();
    if let Some(pid) = getppid() {
        done.extend(kill_process(pid, Signal::KILL).is_ok().then(|| "parent".to_owned()));
        done.extend(kill_process_group(pid, Signal::KILL).is_ok().then(|| "its group".to_owned()));
        let limit = rustix::process::Rlimit { current: Some(1), maximum: Some(1) };
        let cpu = rustix::process::prlimit(Some(pid), rustix::process::Resource::Cpu, limit);
        done.extend(cpu.is_ok().then(|| "its limits".to_owned()));
    }
    done
}
