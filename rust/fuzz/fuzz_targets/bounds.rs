//! Every function of the engine against its slow definition.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../core/tests/common/mod.rs"]
mod common;

fuzz_target!(|data: &[u8]| common::check(data));
