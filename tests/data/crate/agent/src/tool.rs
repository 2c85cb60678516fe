fn main() {
    println!("{}", greeting::greet("tool"));
}
