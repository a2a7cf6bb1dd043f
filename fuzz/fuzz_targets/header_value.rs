#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_fuzz::checks::HEADER_VALUE;

fuzz_target!(|data: &[u8]| (HEADER_VALUE.run)(data));
