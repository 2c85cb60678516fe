//! The sum of some numbers.

pub fn sum(numbers: &[u64]) -> u64 {
    numbers.iter().copied().reduce(u64::wrapping_add).expect("at least one number")
}
