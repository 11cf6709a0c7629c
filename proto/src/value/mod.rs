//! The checked types of the contract's names and references. Each is made only by parsing, and what
//! holds one never checks again. Rules are allow-lists; a refusal names the field, the rule and,
//! where there is one, a value that would do.

mod app;
mod domain;
mod env;
mod git;
mod image;
mod name;
mod net;
mod path;
mod port;

pub use app::AppKey;
pub use domain::Domain;
pub use env::{EnvName, MAX_TOTAL as ENV_MAX_TOTAL, check_env};
pub use git::{GitRef, GitUrl};
pub use image::{ImageId, ImageRef};
pub use name::{AppName, EnvironmentName, Name, ServiceName};
pub use net::{Outbound, is_public};
pub use path::{ContainerPath, HealthPath};
pub use port::Port;

/// Text that must not be printed: it has no `Serialize`, and `Debug` hides it.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Hidden(String);

impl Hidden {
    /// The text. Each call is a place where it could leak.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A value quoted for an error: short, printable, on one line.
pub(crate) fn quote(text: &str) -> String {
    let mut out: String = text.chars().take(48).flat_map(char::escape_debug).collect();
    if text.chars().nth(48).is_some() {
        out.push('…');
    }
    format!("`{out}`")
}

/// Gives a checked text type what every such type has.
macro_rules! text_type {
    ($type:ident) => {
        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::problem::Problem;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = $crate::problem::Problem;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$type> for String {
            fn from(it: $type) -> Self {
                it.0
            }
        }
    };
}
pub(crate) use text_type;
