#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_fuzz::checks::SPLICE;

fuzz_target!(|data: &[u8]| (SPLICE.run)(data));
