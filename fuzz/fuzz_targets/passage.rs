#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_fuzz::checks::PASSAGE;

fuzz_target!(|data: &[u8]| (PASSAGE.run)(data));
