//! One binary for all targets, since linking costs more than choosing: `FUZZ_TARGET` names the one
//! that this process runs. `tests/fuzz/run` sets it.

#![no_main]

mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static RUN: LazyLock<fn(&[u8]) -> bool> = LazyLock::new(|| {
    let wanted = std::env::var("FUZZ_TARGET").expect("FUZZ_TARGET is set");
    let target = targets::ALL.iter().find(|target| target.name == wanted);
    target.expect("FUZZ_TARGET is one of the targets").run
});

fuzz_target!(|data: &[u8]| {
    RUN(data);
});
