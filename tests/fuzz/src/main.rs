//! libFuzzer's entry: runs the target that `FUZZ_TARGET` names. `cargo xtask fuzz` builds and calls it.

#![no_main]

use causeway_fuzz::Target;
use std::sync::OnceLock;

static TARGET: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let target = causeway_fuzz::target(&name).expect("FUZZ_TARGET names a target of causeway_fuzz::TARGETS");
        TARGET.get_or_init(|| target);
    },
    |input: &[u8]| {
        (TARGET.get().expect("libFuzzer initialises before the first input").check)(input)
    }
);
