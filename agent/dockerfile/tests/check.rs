//! Given Dockerfiles, good and bad.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use slipway_dockerfile::check;

#[track_caller]
fn refused(code: &str, text: &str) {
    let problem = check(text).unwrap_err();
    assert_eq!(problem.code, format!("SW-DOCKERFILE-{code}"), "{text}");
    assert_eq!(problem.field.as_deref(), Some("dockerfile"));
    assert!(problem.hint.is_some());
}

#[test]
fn what_must_not_be_built_is_refused_by_code() {
    refused("SIZE", &format!("FROM a\n#{}", "x".repeat(512 << 10)));
    refused("EMPTY", "");
    refused("EMPTY", "\u{feff}\n# only words\n\n");
    refused("FROM", "RUN id\nFROM a");
    refused("FROM", "ARG X=1\n");
    for frontend in [
        "# syntax=evil/frontend\nFROM a",
        "#syntax = evil/frontend:1\nFROM a",
        "# escape=`\n# Syntax=docker/dockerfile-upstream\nFROM a",
        "# words\n# syntax=evil\nFROM a",
        "// syntax=evil\nFROM a",
        "{\"syntax\":\"evil\"}",
    ] {
        refused("FRONTEND", frontend);
    }
    for add in [
        "ADD http://169.254.169.254/latest /x",
        "ADD [\"http://10.0.0.1/x\", \"/x\"]",
        "add --chown=1 https://0x7f000001/x /x",
        "ADD \\\n  http://[::1]/x /x",
        "ADD http://metadata.google.internal/x /x",
        "ONBUILD ADD http://localhost/x /x",
        "RUN <<EOF\nADD http://127.0.0.1/x /x\nEOF",
    ] {
        refused("ADD", &format!("FROM a\n{add}"));
    }
    refused("COPY", "FROM a\nCOPY ../.. /x");
    refused("COPY", "FROM a\nCOPY [\"a/../../b\", \"/x\"]");
    refused("SECRET", "FROM a\nARG NPM_TOKEN=abc");
    refused("SECRET", "ARG password=\"x\"\nFROM a");
    refused("SECURITY", "FROM a\nRUN --security=insecure id");
    refused("SECURITY", "FROM a\nRUN --mount=type=cache,target=/x --network=host id");
    refused("MOUNT", "FROM a\nRUN --mount=type=bind,from=host,target=/x id");
    refused("WORKDIR", "FROM a\nWORKDIR /proc/self/fd/8");
    refused("WORKDIR", "FROM a\nWORKDIR //./proc/1");
}

#[test]
fn a_refusal_names_the_line() {
    let problem = check("FROM a\n\n# words\nRUN a \\\n  && b\nWORKDIR /proc/x").unwrap_err();
    assert_eq!(problem.message, "line 6: a working directory in `/proc/x`");
}

#[test]
fn usual_dockerfiles_pass_with_their_ports_and_bases() {
    let text = "# syntax=docker/dockerfile:1.7\n\
                ARG VERSION=22 API_TOKEN\n\
                FROM --platform=linux/amd64 node:${VERSION} AS Build\n\
                EXPOSE 1111\n\
                COPY . .\n\
                RUN --mount=type=cache,target=/root/.npm npm ci && \\\n\
                # a comment in between\n\
                    npm run build\n\
                RUN <<EOF\nFROM nothing\nEXPOSE 9\nEOF\n\
                FROM scratch AS empty\n\
                FROM build AS again\n\
                from nginx:1.27\n\
                COPY --from=build /app/../dist /usr/share/nginx/html\n\
                ADD https://example.com/x /x\n\
                ENV PORT=3000\nENV OLD 4000\n\
                WORKDIR /process\n\
                EXPOSE 80/tcp 443 53/udp $PORT ${OLD} ${NONE:-5000} 6000-6005 80 nonsense\n\
                CMD [\"nginx\"]\n";
    let checked = check(text).unwrap();
    assert_eq!(checked.exposed, [80, 443, 3000, 4000, 5000, 6000]);
    assert_eq!(checked.bases, ["node:${VERSION}", "nginx:1.27"]);
}

#[test]
fn another_escape_is_heeded() {
    let text = "# escape=`\nFROM a\nWORKDIR C:\\\nRUN a `\n  b\nEXPOSE 1";
    assert_eq!(check(text).unwrap().exposed, [1]);
}
