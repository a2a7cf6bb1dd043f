//! Which policy decides about which method, for clients of which era: one real gateway with all of
//! them, and a small check for each cell of a table that may only grow. What a cell does not have to
//! show says why (`cells.rs`). The table is in docs/security.md; `UPDATE=1` writes it.

mod cells;
mod checks;
mod scene;
mod table;

use cells::{all, reason};
use scene::Scene;

#[tokio::test]
async fn every_policy_decides_about_every_method_of_every_era() {
    let scene = Scene::open().await;
    let mut shown = Vec::new();
    let mut failed = Vec::new();
    for cell in all().into_iter().filter(|cell| reason(*cell).is_none()) {
        match checks::check(&scene, cell).await {
            Ok(()) => shown.push(cell),
            Err(why) => failed.push(format!("{cell:?}: {why}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    table::compare(&shown);
    scene.front.gateway.stop().await;
}
