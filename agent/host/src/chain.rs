//! An error with its causes on one line. Our errors do not print their sources; this does, once,
//! where the error is logged or leaves the program.

use std::{error::Error, fmt};

/// Prints an error and its causes: `could not start `web`: not healthy after 60s`.
pub struct Chain<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.0.to_string();
        f.write_str(&last)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            let text = error.to_string();
            // Foreign errors often repeat their source; saying it twice helps nobody.
            if !last.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            last = text;
            next = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not read `{0}`")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[test]
    fn causes_follow_the_error() {
        let error = Outer("a.toml", std::io::Error::other("disk on fire"));
        assert_eq!(Chain(&error).to_string(), "could not read `a.toml`: disk on fire");
    }
}
