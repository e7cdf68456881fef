//! Did you mean …?

/// The known word nearest to a mistyped one, if one is near enough to be meant.
pub(crate) fn nearest<'w>(typed: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let typed: Vec<char> = typed.chars().take(64).collect();
    let limit = (typed.len() / 3).clamp(1, 3);
    known
        .map(|word| (distance(&typed, &word.chars().collect::<Vec<_>>()), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// Number of insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let substitution = at(&last, j) + usize::from(x != y);
            let mut best = substitution.min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_probably_meant_is_found() {
        let known = ["upstream", "shift", "abort", "fence", "reverse", "routes", "tables"];
        let nearest = |typed| nearest(typed, known.into_iter());
        assert_eq!(nearest("shfit"), Some("shift"));
        assert_eq!(nearest("upstreams"), Some("upstream"));
        assert_eq!(nearest("route"), Some("routes"));
        assert_eq!(nearest("colour"), None);
        assert_eq!(nearest(""), None);
    }
}
