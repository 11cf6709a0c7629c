//! The variables that the command line reads. Tests give a map.

use std::{collections::BTreeMap, path::PathBuf};

/// A process environment, or a test's.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// The variables of this process; those that are not UTF-8 are passed over.
    pub fn process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        )
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|it| !it.is_empty())
    }

    /// A variable that is set, even to nothing.
    pub fn get_any(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Whether a switch is on: set to anything but `0`, `false` and `no`.
    pub fn on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|it| !matches!(it, "0" | "false" | "no"))
    }

    /// The folder of the user's configuration: `$XDG_CONFIG_HOME/slipway`, else `~/.config/slipway`.
    pub fn config_dir(&self) -> PathBuf {
        self.xdg("XDG_CONFIG_HOME", ".config")
    }

    /// The folder of the user's data: `$XDG_DATA_HOME/slipway`, else `~/.local/share/slipway`.
    pub fn data_dir(&self) -> PathBuf {
        self.xdg("XDG_DATA_HOME", ".local/share")
    }

    /// The folder of what can be made again: `$XDG_CACHE_HOME/slipway`, else `~/.cache/slipway`.
    pub fn cache_dir(&self) -> PathBuf {
        self.xdg("XDG_CACHE_HOME", ".cache")
    }

    fn xdg(&self, variable: &str, below_home: &str) -> PathBuf {
        // Relative paths are to be ignored, says the XDG specification.
        let named = self.get(variable).map(PathBuf::from).filter(|it| it.is_absolute());
        let home = || PathBuf::from(self.get("HOME").unwrap_or("/root")).join(below_home);
        named.unwrap_or_else(home).join("slipway")
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_follow_xdg_and_fall_back_to_the_home() {
        let set = Environment::from([("XDG_CONFIG_HOME", "/c"), ("HOME", "/home/ada")]);
        assert_eq!(set.config_dir(), PathBuf::from("/c/slipway"));
        assert_eq!(set.data_dir(), PathBuf::from("/home/ada/.local/share/slipway"));
        let relative = Environment::from([("XDG_CONFIG_HOME", "c"), ("HOME", "/home/ada")]);
        assert_eq!(relative.config_dir(), PathBuf::from("/home/ada/.config/slipway"));
    }

    #[test]
    fn a_switch_is_off_when_it_says_so() {
        let environment = Environment::from([("A", "1"), ("B", "0"), ("C", ""), ("D", "false")]);
        assert!(environment.on("A"));
        assert!(!environment.on("B") && !environment.on("C") && !environment.on("D"));
        assert!(!environment.on("E"));
    }
}
