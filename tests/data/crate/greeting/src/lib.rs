pub fn greet(whom: &str) -> String {
    assert!(!whom.is_empty(), "nobody to greet");
    format!("hello {whom}")
}
