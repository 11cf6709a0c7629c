//! TCP ports.

use std::{fmt, num::NonZeroU16, str::FromStr};

use serde::{Deserialize, Serialize};

use super::quote;
use crate::problem::Problem;

/// Ports that belong to the server itself: ssh, Docker's API, the agent.
const RESERVED: &[u16] = &[22, 2375, 2376, 9999];

const RULE: &str = "use 1 to 65535, other than 22, 2375, 2376 and 9999";

/// The TCP port on which an app listens: 1 to 65535, not one of the server's own.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Port(NonZeroU16);

impl Port {
    /// The number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u32> for Port {
    type Error = Problem;

    fn try_from(number: u32) -> Result<Self, Problem> {
        let port = u16::try_from(number).ok().and_then(NonZeroU16::new).ok_or_else(|| {
            Problem::invalid("SW-PORT", "port", format!("{number} is not a port")).hint(RULE)
        })?;
        if RESERVED.contains(&port.get()) {
            let message = format!("port {port} is reserved");
            return Err(Problem::invalid("SW-PORT", "port", message).hint(RULE));
        }
        Ok(Self(port))
    }
}

impl From<Port> for u32 {
    fn from(port: Port) -> Self {
        Self::from(port.get())
    }
}

impl FromStr for Port {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        // `u32::from_str` takes a leading `+`.
        let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        match text.parse::<u32>() {
            Ok(number) if digits => Self::try_from(number),
            _ => {
                let message = format!("{} is not a port", quote(text));
                Err(Problem::invalid("SW-PORT", "port", message).hint(RULE))
            }
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_the_corpus_are_refused() {
        for bad in ["0", "-1", "65536", "80;", "0x50", "22", "9999", "2375", "", "+80", " 80"] {
            assert_eq!(bad.parse::<Port>().unwrap_err().code, "SW-PORT", "{bad}");
        }
        assert_eq!("8080".parse::<Port>().unwrap().get(), 8080);
    }
}
