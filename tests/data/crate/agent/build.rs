//! Makes a file, as build scripts do.

use std::{env, fs, path::Path};

fn main() {
    let target = Path::new(&env::var("OUT_DIR").unwrap()).join("made.txt");
    fs::write(target, env::var("SOURCE_DATE_EPOCH").unwrap_or_default()).unwrap();
}
