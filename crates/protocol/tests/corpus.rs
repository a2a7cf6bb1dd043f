//! The seeds of the fuzz targets, and what lies one cut away from each, on the same checks as the
//! targets.

pub mod checks;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use checks::Check;

#[test]
fn every_seed_passes_its_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds");
    for check in checks::ALL {
        let seeds =
            fs::read_dir(folder.join(check.name)).expect("a folder of seeds for each check");
        let mut count = 0;
        for seed in seeds {
            let path = seed.expect("readable").path();
            let data = fs::read(&path).expect("readable");
            run(check, &path, &data);
            for at in 0..data.len() {
                run(check, &path, &data[..at]);
                run(check, &path, &[&data[..at], &data[at + 1..]].concat());
            }
            count += 1;
        }
        assert!(count > 0, "{} has no seeds", check.name);
    }
}

fn run(check: &Check, path: &Path, data: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (check.run)(data)));
    assert!(
        outcome.is_ok(),
        "{}: {:?}",
        path.display(),
        data.escape_ascii().to_string()
    );
}
