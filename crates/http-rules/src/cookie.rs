//! Cookies of a request.

/// The first cookie of this name that is not empty, from the values of all `Cookie` fields in order.
pub fn find<'h>(values: impl IntoIterator<Item = &'h str>, name: &str) -> Option<&'h str> {
    find_all(values, name).next()
}

/// Every cookie of this name that is not empty, from the values of all `Cookie` fields in order.
pub fn find_all<'h>(
    values: impl IntoIterator<Item = &'h str>,
    name: &str,
) -> impl Iterator<Item = &'h str> {
    values
        .into_iter()
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cookie_of_the_name_that_has_a_value_is_found() {
        assert_eq!(find(["a=1; sid=", "sid=x=y; sid=z"], "sid"), Some("x=y"));
        assert_eq!(find(["asid=1; sid", ""], "sid"), None);
        assert_eq!(find(["; ;;=;sid=1"], "sid"), Some("1"));
        assert_eq!(find_all(["sid=1; sid=", "a=1;sid=2"], "sid").collect::<Vec<_>>(), ["1", "2"]);
    }
}
