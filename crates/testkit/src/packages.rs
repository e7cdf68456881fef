//! The platform's package manager and the commands that install what the project needs.

use std::path::Path;

use nix::unistd::Uid;

/// Something that is installed with the platform's package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A C compiler and linker.
    CCompiler,
    /// CMake, for one C library below the proxy.
    CMake,
    /// A PostgreSQL server with its contributed modules.
    PostgreSql,
}

impl Need {
    /// The name for messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CCompiler => "a C compiler",
            Self::CMake => "CMake",
            Self::PostgreSql => "PostgreSQL 15 or newer",
        }
    }
}

/// A package manager this project knows how to talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageManager {
    /// Debian, Ubuntu.
    Apt,
    /// Fedora, Red Hat.
    Dnf,
    /// Alpine.
    Apk,
    /// Arch.
    Pacman,
    /// SUSE.
    Zypper,
    /// macOS.
    Brew,
}

impl PackageManager {
    /// The package manager whose program is on `PATH`.
    #[must_use]
    pub fn detect() -> Option<Self> {
        [Self::Apt, Self::Dnf, Self::Apk, Self::Pacman, Self::Zypper, Self::Brew]
            .into_iter()
            .find(|manager| is_on_path(manager.program()))
    }

    /// The program's name.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Apk => "apk",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
            Self::Brew => "brew",
        }
    }

    /// Whether installing needs root's rights (Homebrew refuses them).
    #[must_use]
    pub fn wants_root(self) -> bool {
        self != Self::Brew
    }

    /// The arguments that bring the list of packages up to date, where that is a step of its own.
    #[must_use]
    pub fn refresh_arguments(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Apt | Self::Apk => Some(&["update"]),
            Self::Pacman => Some(&["-Sy"]),
            Self::Dnf | Self::Zypper | Self::Brew => None,
        }
    }

    /// The arguments that install `needs` without asking questions.
    #[must_use]
    pub fn install_arguments(self, needs: &[Need]) -> Vec<&'static str> {
        let mut arguments = match self {
            Self::Apt => vec!["install", "-y", "--no-install-recommends"],
            Self::Dnf => vec!["install", "-y"],
            Self::Apk => vec!["add"],
            Self::Pacman => vec!["-S", "--needed", "--noconfirm"],
            Self::Zypper => vec!["--non-interactive", "install"],
            Self::Brew => vec!["install"],
        };
        for need in needs {
            arguments.extend(self.packages(*need));
        }
        arguments
    }

    /// The whole line a person types to install `needs`, with `sudo` where it is wanted.
    #[must_use]
    pub fn install_line(self, needs: &[Need]) -> String {
        let sudo = if self.wants_root() && !Uid::effective().is_root() { "sudo " } else { "" };
        let program = self.program();
        let refresh = self
            .refresh_arguments()
            .map(|arguments| format!("{sudo}{program} {} && ", arguments.join(" ")))
            .unwrap_or_default();
        format!("{refresh}{sudo}{program} {}", self.install_arguments(needs).join(" "))
    }

    fn packages(self, need: Need) -> &'static [&'static str] {
        match (need, self) {
            (Need::CCompiler, Self::Apt) => &["gcc", "libc6-dev"],
            (Need::CCompiler, Self::Apk) => &["build-base"],
            (Need::CCompiler, Self::Dnf | Self::Pacman | Self::Zypper | Self::Brew) => &["gcc"],
            (Need::CMake, Self::Brew) => &["cmake"],
            (Need::CMake, Self::Apt | Self::Dnf | Self::Apk | Self::Pacman | Self::Zypper) => {
                &["cmake", "make"]
            }
            (Need::PostgreSql, Self::Apt | Self::Pacman) => &["postgresql"],
            (Need::PostgreSql, Self::Dnf | Self::Zypper) => {
                &["postgresql-server", "postgresql-contrib"]
            }
            (Need::PostgreSql, Self::Apk) => &["postgresql", "postgresql-contrib"],
            (Need::PostgreSql, Self::Brew) => &["postgresql@17"],
        }
    }
}

/// Whether an executable of that name is on `PATH`.
pub(crate) fn is_on_path(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|dir| Path::new(&dir).join(program).is_file())
    })
}
