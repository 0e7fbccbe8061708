//! Dividing a whole number among several who want more than there is.

/// Gives each of `wants` what it wants where `total` is enough, else its part in proportion, by the method of largest
/// remainders (the first of equals comes first). The sum never exceeds `total`, and nobody gets more than it wants.
pub(crate) fn apportion(total: u64, wants: &[u64]) -> Vec<u64> {
    let sum: u128 = wants.iter().map(|want| u128::from(*want)).sum();
    if sum <= u128::from(total) {
        return wants.to_vec();
    }
    // `sum` is above `total`, so it is not zero, and every quotient is at most its want.
    let exact = |want: u64| (u128::from(total) * u128::from(want) / sum, u128::from(total) * u128::from(want) % sum);
    let mut parts: Vec<u64> = wants.iter().map(|want| exact(*want).0 as u64).collect();
    let mut order: Vec<usize> = (0..wants.len()).filter(|place| wants[*place] > 0).collect();
    order.sort_by_key(|place| (std::cmp::Reverse(exact(wants[*place]).1), *place));
    let rest = total - parts.iter().sum::<u64>();
    for place in order.into_iter().take(usize::try_from(rest).unwrap_or(usize::MAX)) {
        parts[place] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_the_largest_remainders_come_first() {
        assert_eq!(apportion(10, &[3, 2, 2, 1]), [3, 2, 2, 1]);
        assert_eq!(apportion(3, &[3, 2, 2, 1]), [1, 1, 1, 0]);
        assert_eq!(apportion(0, &[3, 0]), [0, 0]);
        assert_eq!(apportion(1, &[0, 0, 5]), [0, 0, 1]);
        assert_eq!(apportion(u64::MAX, &[u64::MAX, u64::MAX]), [u64::MAX / 2 + 1, u64::MAX / 2]);
    }
}
