//! Names for servers that got none: an adjective and an animal, such as `brave-otter`.

use rand::seq::IndexedRandom as _;

const ADJECTIVES: &[&str] = &[
    "amber", "bold", "brave", "bright", "brisk", "calm", "clever", "cosmic", "crisp", "dapper",
    "eager", "early", "fair", "fleet", "gentle", "glad", "golden", "grand", "happy", "hardy",
    "jolly", "keen", "kind", "lively", "lucky", "merry", "mighty", "mellow", "neat", "noble",
    "patient", "plucky", "polite", "proud", "quick", "quiet", "rapid", "royal", "sharp", "shiny",
    "silent", "silver", "smooth", "snowy", "steady", "sunny", "swift", "tidy", "vivid", "wise",
];

const ANIMALS: &[&str] = &[
    "badger", "beaver", "bison", "crane", "curlew", "dolphin", "dormouse", "eagle", "egret",
    "falcon", "ferret", "finch", "fox", "gannet", "gecko", "gull", "hare", "hawk", "heron", "ibex",
    "jackdaw", "kestrel", "kite", "lark", "lemur", "lynx", "magpie", "marten", "mink", "moose",
    "newt", "orca", "osprey", "otter", "owl", "panda", "pelican", "petrel", "plover", "puffin",
    "raven", "robin", "salmon", "seal", "stoat", "swan", "tern", "vole", "walrus", "wren",
];

/// Makes one up.
pub(super) fn make() -> String {
    let mut rng = rand::rng();
    let adjective = ADJECTIVES.choose(&mut rng).unwrap_or(&"brave");
    let animal = ANIMALS.choose(&mut rng).unwrap_or(&"otter");
    format!("{adjective}-{animal}")
}

#[cfg(test)]
mod tests {
    use slipway_proto::value::Name;

    use super::*;

    #[test]
    fn every_name_that_can_be_made_up_is_allowed() {
        for adjective in ADJECTIVES {
            for animal in ANIMALS {
                Name::parse(&format!("{adjective}-{animal}")).unwrap();
            }
        }
    }
}
