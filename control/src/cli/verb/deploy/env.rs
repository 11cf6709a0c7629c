//! Variables and secrets of the app: from files, from flags, from this environment.

use std::collections::BTreeMap;

use super::Args;
use crate::cli::{Environment, Error};

const FILE_LIMIT: u64 = 4 << 20;

/// The app's variables, and those of them that are secret.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Variables {
    /// For everybody to see.
    pub(super) env: BTreeMap<String, String>,
    /// For the app only.
    pub(super) secrets: BTreeMap<String, String>,
}

/// Gathers them: files in order, then flags; a secret is taken out of the variables.
pub(super) fn gather(args: &Args, environment: &Environment) -> Result<Variables, Error> {
    let mut env = BTreeMap::new();
    for path in &args.env_file {
        let read = slipway_host::fs::read_limited(path, FILE_LIMIT)
            .map_err(|source| Error::File { action: "read", path: path.clone(), source })?;
        let bytes =
            read.ok_or_else(|| Error::Usage(format!("there is no file `{}`", path.display())))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::Usage(format!("`{}` is not UTF-8 text", path.display())))?;
        let pairs = parse_file(&text, environment).map_err(|(line, problem)| {
            Error::Usage(format!("`{}` line {line}: {problem}", path.display()))
        })?;
        env.extend(pairs);
    }
    for pair in &args.env {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => (pair.as_str(), from_here(pair, environment)?),
        };
        env.insert(name.to_owned(), value);
    }
    let mut secrets = BTreeMap::new();
    for name in &args.secrets {
        if name.contains('=') {
            // Not repeated here: what follows the sign may be the secret.
            return Err(Error::Usage(
                "`--secret` takes a name only; put the value into this environment or an --env-file".to_owned(),
            ));
        }
        let value = match env.remove(name) {
            Some(value) => value,
            None => from_here(name, environment)?,
        };
        secrets.insert(name.clone(), value);
    }
    Ok(Variables { env, secrets })
}

fn from_here(name: &str, environment: &Environment) -> Result<String, Error> {
    environment.get_any(name).map(str::to_owned).ok_or_else(|| {
        Error::Usage(format!("`{name}` has no value: it is neither set here nor in an --env-file"))
    })
}

/// Lines `NAME=VALUE`, `export NAME=VALUE`, or `NAME` for the value of this environment. Empty lines
/// and lines that begin with `#` are passed over; one pair of quotes around a value is taken off.
fn parse_file(
    text: &str,
    environment: &Environment,
) -> Result<Vec<(String, String)>, (usize, String)> {
    let mut pairs = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.trim_end(), unquote(value.trim_start()).to_owned()),
            None => match environment.get_any(line) {
                Some(value) => (line, value.to_owned()),
                None => {
                    return Err((index + 1, format!("`{line}` has no value and is not set here")));
                }
            },
        };
        if name.is_empty() {
            return Err((index + 1, "a name is missing before `=`".to_owned()));
        }
        pairs.push((name.to_owned(), value));
    }
    Ok(pairs)
}

fn unquote(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(env: &[&str], secrets: &[&str]) -> Args {
        let own = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect();
        Args { env: own(env), secrets: own(secrets), ..Args::default() }
    }

    #[test]
    fn flags_win_over_files_and_secrets_leave_the_variables() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("app.env");
        std::fs::write(&file, "# comment\nA=1\nexport B=\"two words\"\nKEY='s3'\n\nFROM\n")
            .unwrap();
        let mut args = args(&["A=2", "HERE"], &["KEY", "TOKEN"]);
        args.env_file = vec![file];
        let here = Environment::from([("HERE", "h"), ("TOKEN", "t"), ("FROM", "f")]);
        let made = gather(&args, &here).unwrap();
        let pairs = |it: &BTreeMap<String, String>| {
            it.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(pairs(&made.env), "A=2 B=two words FROM=f HERE=h");
        assert_eq!(pairs(&made.secrets), "KEY=s3 TOKEN=t");
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
        let error = gather(&args(&[], &["KEY=hunter2"]), &Environment::default()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn a_name_without_a_value_is_refused_with_its_place() {
        let error = gather(&args(&["NOPE"], &[]), &Environment::default()).unwrap_err();
        assert!(error.to_string().contains("`NOPE` has no value"), "{error}");
        let (line, _) = parse_file("A=1\n=2\n", &Environment::default()).unwrap_err();
        assert_eq!(line, 2);
    }
}
