#!/bin/sh
# Cargo calls this in rustc's stead for crates of this workspace (RUSTC_WORKSPACE_WRAPPER, set by `cargo xtask fuzz`):
# adds what libFuzzer watches. These flags are LLVM's own, so stable compilers take them too; crates of others stay as
# they are and are shared with ordinary builds. Build scripts are programs of their own and have no libFuzzer.
case " $* " in
*" --crate-name build_script_"* | *" --crate-type proc-macro "* | *" -vV "* | *" --print"*) exec "$@" ;;
esac
exec "$@" \
    -Copt-level=2 -Ccodegen-units=16 -Cdebug-assertions=on -Coverflow-checks=on --cfg fuzzing \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares
