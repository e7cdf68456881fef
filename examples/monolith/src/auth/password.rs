//! The password hashes found in `users.pw`: bcrypt, `sha256$salt$hex`, and plain SHA-256 in hex.

use sha2::{Digest, Sha256};

/// Whether `password` is the one that `stored` was made of.
pub(super) fn matches(password: &str, stored: &str) -> bool {
    if stored.starts_with("$2") {
        return bcrypt::verify(password, stored).unwrap_or(false);
    }
    let (salt, expected) = match stored.strip_prefix("sha256$") {
        Some(salted) => salted.split_once('$').unwrap_or(("", salted)),
        None => ("", stored),
    };
    let digest = Sha256::new().chain_update(password).chain_update(salt).finalize();
    hex::decode(expected).is_ok_and(|expected| expected == digest.as_slice())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn every_kind_of_hash_accepts_its_password_and_no_other() {
        for stored in [
            "$2b$04$N1mFkjwDqMeyHEqPn8qZruqXkJhn1ceYGW3HF.TI.Y.1TCguDg7gi",
            "sha256$salt1$4939e66d5bdea839ec10d823c86ebff624be8420882f26de1ec479530915e741",
            "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
        ] {
            assert!(matches("secret", stored), "{stored}");
            assert!(!matches("secrets", stored), "{stored}");
        }
        assert!(!matches("", ""));
        assert!(!matches("secret", "sha256$"));
    }
}
