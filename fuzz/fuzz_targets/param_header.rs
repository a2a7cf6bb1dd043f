#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_fuzz::checks::PARAM_HEADER;

fuzz_target!(|data: &[u8]| (PARAM_HEADER.run)(data));
