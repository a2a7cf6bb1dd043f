#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_fuzz::checks::TOKEN;

fuzz_target!(|data: &[u8]| (TOKEN.run)(data));
