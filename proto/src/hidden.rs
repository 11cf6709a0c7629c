//! `Debug` of the messages that carry secrets: it names them and shows nothing of them. The
//! generator leaves these implementations out (see tests/generated.rs).

use std::fmt;

use crate::{agent::v1 as agent, control::v1 as control};

macro_rules! hidden {
    ($($message:ty: $($field:ident),*;)*) => {
        $(impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        })*
    };
}

hidden! {
    agent::AppSpec: app, service, environment, source, port, domains, replicas;
    agent::GitSource: url, r#ref;
    agent::ImageSource: reference;
    agent::PullImageRequest: reference;
    control::EnrollRequest: agent_version, droplet_id, hostname;
    control::AddServerResponse: server;
    control::IssueOperatorCertificateResponse: tls_name, address;
    control::CreateUserResponse: user;
    control::CreateTokenResponse: token;
}
