//! How much room the log's disk has, where the server runs on this machine and we may look. SQL cannot
//! tell it.

use std::{fs::File, io::Read as _, path::Path};

/// Free bytes for ordinary users; `None`: nobody knows. The directory must be that of the server with
/// this identity: another machine may have a directory of the same name.
pub(super) fn free(data_directory: &Path, system_id: &str) -> Option<u64> {
    let mut begin = [0_u8; size_of::<u64>()];
    File::open(data_directory.join("global/pg_control")).ok()?.read_exact(&mut begin).ok()?;
    if u64::from_ne_bytes(begin).to_string() != system_id {
        return None;
    }
    let found = nix::sys::statvfs::statvfs(&data_directory.join("pg_wal")).ok()?;
    // the platforms count in numbers of different size
    let bytes = u128::from(found.blocks_available()) * u128::from(found.fragment_size());
    u64::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_directory_of_that_very_server_is_looked_at() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(directory.path().join("global")).expect("a directory");
        std::fs::create_dir_all(directory.path().join("pg_wal")).expect("a directory");
        let control = directory.path().join("global/pg_control");
        std::fs::write(control, 42_u64.to_ne_bytes()).expect("a file");
        assert!(free(directory.path(), "42").is_some());
        assert_eq!(free(directory.path(), "43"), None);
        assert_eq!(free(Path::new("/nowhere"), "42"), None);
    }
}
