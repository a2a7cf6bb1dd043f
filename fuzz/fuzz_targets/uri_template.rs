#![no_main]

use libfuzzer_sys::fuzz_target;
use switchboard_fuzz::checks::URI_TEMPLATE;

fuzz_target!(|data: &[u8]| (URI_TEMPLATE.run)(data));
