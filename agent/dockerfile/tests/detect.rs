//! Sources and the Dockerfiles that are made for them.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use expect_test::{ExpectFile, expect_file};
use proptest::{collection::vec, prelude::*};
use slipway_dockerfile::{Bases, Files, Generated, check, detect};
use slipway_proto::problem::Problem;

/// Names, and texts of those that have one.
fn files(all: &[(&str, &str)]) -> Files {
    let mut files = Files::default();
    for (name, text) in all {
        files.names.push((*name).to_owned());
        files.contents.insert((*name).to_owned(), text.as_bytes().to_vec());
    }
    files
}

fn generate(all: &[(&str, &str)]) -> Result<Generated, Problem> {
    detect(&files(all), &Bases::default())
}

#[track_caller]
fn golden(all: &[(&str, &str)], expected: ExpectFile) {
    let generated = generate(all).unwrap();
    let checked = check(&generated.text).unwrap();
    assert_eq!(checked.exposed, [8080]);
    expected.assert_eq(&generated.text);
}

/// The `CMD` line.
#[track_caller]
fn command(all: &[(&str, &str)]) -> String {
    let generated = generate(all).unwrap();
    let line = generated.text.lines().find_map(|it| it.strip_prefix("CMD ")).unwrap();
    format!("{}: {line}", generated.what)
}

#[test]
fn each_language_has_its_dockerfile() {
    let flask = "from flask import Flask\napp = Flask(__name__)\n";
    golden(
        &[("requirements.txt", "flask==3.0\n"), ("app.py", flask)],
        expect_file!["golden/flask"],
    );
    golden(
        &[("pyproject.toml", "[project]\n"), ("uv.lock", ""), ("main.py", "api: X = FastAPI()")],
        expect_file!["golden/fastapi-uv"],
    );
    golden(
        &[("manage.py", ""), ("shop/wsgi.py", ""), ("Pipfile", "django\ngunicorn")],
        expect_file!["golden/django-pipfile"],
    );
    golden(&[("main.py", "print()")], expect_file!["golden/python"]);
    let start = r#"{"scripts":{"start":"node server.js"}}"#;
    golden(&[("package.json", start), ("package-lock.json", "")], expect_file!["golden/node"]);
    let next =
        r#"{"scripts":{"start":"next start","build":"next build"},"dependencies":{"next":"1"}}"#;
    golden(&[("package.json", next), ("pnpm-lock.yaml", "")], expect_file!["golden/next-pnpm"]);
    let vite = r#"{"scripts":{"build":"vite build"},"devDependencies":{"vite":"5"}}"#;
    golden(&[("package.json", vite), ("yarn.lock", "")], expect_file!["golden/vite-yarn"]);
    golden(&[("go.mod", ""), ("cmd/web/main.go", "")], expect_file!["golden/go"]);
    let cargo = "[package]\nname = \"shop\"\n[[bin]]\nname = \"shopd\"\n";
    golden(&[("Cargo.toml", cargo), ("Cargo.lock", "")], expect_file!["golden/rust"]);
    golden(&[("Gemfile", "gem 'rails', '7'"), ("config.ru", "")], expect_file!["golden/rails"]);
    golden(
        &[("composer.json", "{}"), ("public/index.php", ""), ("artisan", "")],
        expect_file!["golden/laravel"],
    );
    golden(&[("pom.xml", "")], expect_file!["golden/maven"]);
    golden(&[("build.gradle.kts", "")], expect_file!["golden/gradle"]);
    golden(&[("index.html", "")], expect_file!["golden/static"]);
}

#[test]
fn a_procfile_says_how_it_is_started() {
    let procfile = "release: ./migrate\nweb:  gunicorn shop:app --bind 0.0.0.0:$PORT\r\n";
    assert_eq!(
        command(&[("requirements.txt", ""), ("Procfile", procfile)]),
        r#"Python: ["sh", "-c", "gunicorn shop:app --bind 0.0.0.0:$PORT"]"#
    );
    assert_eq!(
        command(&[("package.json", "{}"), ("Procfile", "web: node bin/www")]),
        r#"Node: ["node", "bin/www"]"#
    );
    let error = generate(&[("package.json", "{}"), ("Procfile", "web:")]).unwrap_err();
    assert_eq!(error.code, "SW-DOCKERFILE-PROCFILE");
}

#[test]
fn the_start_command_is_found_where_it_usually_is() {
    for (all, expected) in [
        (
            &[("package.json", r#"{"main":"./lib/x.js"}"#), ("lib/x.js", "")][..],
            r#"Node: ["node", "lib/x.js"]"#,
        ),
        (&[("package.json", "not json"), ("index.js", "")], r#"Node: ["node", "index.js"]"#),
        (
            &[("package.json", r#"{"main":"-e x","dependencies":{"express":1}}"#), ("app.js", "")],
            r#"Node (Express): ["node", "app.js"]"#,
        ),
        (&[("go.mod", ""), ("main.go", ""), ("cmd/tool/main.go", "")], r#"Go: ["app"]"#),
        (&[("Gemfile", ""), ("app.rb", "")], r#"Ruby: ["bundle", "exec", "ruby", "app.rb"]"#),
        (
            &[("Gemfile", "gem \"sinatra\""), ("config.ru", "")],
            r#"Ruby (Rack): ["sh", "-c", "exec bundle exec rackup -o 0.0.0.0 -p ${PORT}"]"#,
        ),
        (&[("index.php", "")], r#"PHP: ["apache2-foreground"]"#),
        (
            &[("public/index.html", "")],
            r#"static site: ["sh", "-c", "exec busybox httpd -f -p ${PORT} -h /www"]"#,
        ),
        // Assets of an app in another language are not the app.
        (
            &[("Gemfile", "gem 'rails'"), ("package.json", "{}")],
            r#"Ruby (Rails): ["sh", "-c", "exec bundle exec rails server -b 0.0.0.0 -p ${PORT}"]"#,
        ),
    ] {
        assert_eq!(command(all), expected);
    }
}

#[test]
fn what_is_not_recognized_is_said_with_what_was_looked_for() {
    let error = generate(&[("README.md", ""), ("notes\u{1b}.txt", "")]).unwrap_err();
    assert_eq!(error.code, "SW-DOCKERFILE-UNKNOWN");
    assert!(error.message.contains("package.json"), "{error}");
    assert!(error.message.ends_with("found README.md, notes\\u{1b}.txt"), "{error}");
    for all in [&[("requirements.txt", "")][..], &[("package.json", "{}")], &[("Gemfile", "")]] {
        let error = generate(all).unwrap_err();
        assert_eq!(error.code, "SW-DOCKERFILE-UNKNOWN");
        assert!(error.hint.unwrap().contains("Procfile"));
    }
}

#[test]
fn bases_can_be_named_and_are_checked() {
    let source = files(&[("index.html", "")]);
    let bases: Bases = serde_json::from_str(r#"{"static":"registry.local/busybox@sha256:0000000000000000000000000000000000000000000000000000000000000000"}"#).unwrap();
    assert!(detect(&source, &bases).unwrap().text.contains("FROM registry.local/busybox@sha256:0"));
    let bases = Bases { node: "a\nRUN evil".to_owned(), ..Bases::default() };
    assert!(detect(&source, &bases).is_err());
    assert!(serde_json::from_str::<Bases>(r#"{"nodejs":"x"}"#).is_err());
}

/// The keywords of a Dockerfile, as a builder that knows nothing of heredocs sees them.
fn keywords(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|it| !it.is_empty() && !it.starts_with('#'));
    lines.map(|it| it.split(' ').next().unwrap()).collect()
}

/// Text with everything that Dockerfiles and shells know.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z \\\\\"'$`\n\r\t#<>&|;{}=,\\[\\]\u{85}\u{2028}]{0,40}",
        Just("x\nRUN evil".to_owned()),
        Just("x \\\nRUN evil".to_owned()),
        Just("x\"]\nUSER root".to_owned()),
        Just("<<EOF".to_owned()),
        Just("{{ bases }}{% include 'x' %}".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_value_of_a_source_makes_an_instruction(text in hostile(), other in hostile(), names in vec(hostile(), 0..3)) {
        let json = |it: &str| serde_json::to_string(it).unwrap();
        let package = format!("{{\"scripts\":{{\"start\":{},\"build\":{}}},\"main\":{}}}", json(&text), json(&other), json(&other));
        let sources = [
            vec![("package.json", package), ("index.js", String::new())],
            vec![("requirements.txt", text.clone()), ("app.py", format!("{other} = Flask(")), ("main.py", String::new())],
            vec![("Cargo.toml", format!("[package]\nname = {}", json(&text)))],
            vec![("index.html", String::new()), ("Procfile", format!("web: {text}"))],
            vec![("go.mod", text), ("Procfile", format!("web:{other}"))],
        ];
        for source in sources {
            let all: Vec<_> = source.iter().map(|(name, text)| (*name, text.as_str())).collect();
            let mut files = files(&all);
            for name in &names {
                files.names.push(format!("cmd/{name}/main.go"));
                files.names.push(format!("{name}/wsgi.py"));
                files.names.push("manage.py".to_owned());
            }
            let generated = match detect(&files, &Bases::default()) {
                Ok(generated) => generated,
                Err(problem) => {
                    prop_assert_ne!(problem.code, "SW-INTERNAL");
                    continue;
                }
            };
            check(&generated.text).unwrap();
            let known = ["FROM", "WORKDIR", "COPY", "RUN", "ENV", "EXPOSE", "STOPSIGNAL", "CMD"];
            let found = keywords(&generated.text);
            prop_assert!(found.iter().all(|it| known.contains(it)), "{}", generated.text);
            prop_assert_eq!(found.iter().filter(|it| **it == "CMD").count(), 1);
            prop_assert!(!generated.text.contains("evil\n"), "{}", generated.text);
            // The command is a JSON list on the last line, and nothing else.
            let last = generated.text.lines().last().unwrap();
            let words: Vec<String> = serde_json::from_str(last.strip_prefix("CMD ").unwrap()).unwrap();
            prop_assert!(!words.is_empty());
            prop_assert!(generated.text.is_ascii());
        }
    }

    #[test]
    fn any_text_is_checked_without_a_panic(text in hostile(), more in hostile()) {
        drop(check(&format!("{text}\nFROM a\n{more}")));
    }
}
