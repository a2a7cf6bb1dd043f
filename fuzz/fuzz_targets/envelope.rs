#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_fuzz::checks::ENVELOPE;

fuzz_target!(|data: &[u8]| (ENVELOPE.run)(data));
