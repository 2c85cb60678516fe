//! Stands in for an agent: says who it is, and powers nothing off. Panics name a source file, as real agents' do.

use std::path::Path;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let total = tiny_sum::sum(&[1, 2, words.len() as u64]);
    let mut text = greeting::greet(if cfg!(feature = "polite") { "guest" } else { "you" });
    if cfg!(feature = "loud") {
        text = text.to_uppercase();
    }
    println!("{text} {total} {}", include_str!(concat!(env!("OUT_DIR"), "/made.txt")));
    assert!(Path::new("/").is_dir(), "no root");
}
