//! Preloaded into the program by the tests of chaos: a wall clock that jumps, and a disk that takes its time.
//!
//! `FAULTS_CLOCK=SECONDS` lets the wall clock jump by years around that time since 1970 at each look, and stand still
//! between: what a run sees of it is the same whenever the test is made. `FAULTS_DISK=MS` lets every
//! sync and every new name take so long, and every write a hundredth of it. `FAULTS_COUNT=FILE` is told how many there were.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

unsafe extern "C" {
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// The next symbol of this name: the system's own.
fn real(name: &CStr) -> *mut c_void {
    // SAFETY: -1 is RTLD_NEXT, and the name ends with a zero.
    let found = unsafe { dlsym(-1_isize as *mut c_void, name.as_ptr()) };
    assert!(!found.is_null());
    found
}

static FAULTS: AtomicI64 = AtomicI64::new(0);

fn count() -> i64 {
    let n = FAULTS.fetch_add(1, Ordering::SeqCst);
    if let Ok(path) = std::env::var("FAULTS_COUNT") {
        std::fs::write(path, (n + 1).to_string()).unwrap();
    }
    n
}

fn wait(part: u64) -> bool {
    let delay = std::env::var("FAULTS_DISK").ok().and_then(|ms| ms.parse::<u64>().ok());
    if let Some(ms) = delay {
        std::thread::sleep(Duration::from_micros(1000 * ms / part));
    }
    delay.is_some()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut [i64; 2]) -> c_int {
    type Real = unsafe extern "C" fn(c_int, *mut [i64; 2]) -> c_int;
    // SAFETY: the system's function of this name has this signature, and gets what we were given.
    unsafe {
        let real: Real = std::mem::transmute(real(c"clock_gettime"));
        let done = real(clock, time);
        let around = std::env::var("FAULTS_CLOCK").ok().and_then(|seconds| seconds.parse::<i64>().ok());
        // 0 is CLOCK_REALTIME.
        if let (0, 0, Some(around)) = (clock, done, around) {
            let years = [10, -20, 3, -40][count() as usize % 4];
            *time = [around + years * 31_557_600, 0];
        }
        done
    }
}

macro_rules! slow {
    ($name:ident, $symbol:literal, $part:literal, ($($arg:ident: $type:ty),*) -> $out:ty) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $type),*) -> $out {
            if wait($part) && $part == 1 {
                count();
            }
            // SAFETY: as in `clock_gettime`.
            unsafe {
                let real: unsafe extern "C" fn($($type),*) -> $out = std::mem::transmute(real($symbol));
                real($($arg),*)
            }
        }
    };
}

slow!(fsync, c"fsync", 1, (file: c_int) -> c_int);
slow!(fdatasync, c"fdatasync", 1, (file: c_int) -> c_int);
slow!(rename, c"rename", 1, (from: *const c_char, to: *const c_char) -> c_int);
slow!(write, c"write", 100, (file: c_int, bytes: *const c_void, n: usize) -> isize);
