//! Who may call which method, generated from the option of each method in the protos.

/// What a caller has proven to be.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// Nobody in particular: no certificate, no token.
    Anyone,
    /// The control plane: its certificate, and on agents also `x-api-key`.
    Control,
    /// An agent, by its certificate. It speaks only about itself.
    Agent,
    /// A person with an operator certificate, and on agents also `x-api-key`.
    Operator,
    /// Root on the server itself, over the agent's unix socket.
    LocalRoot,
    /// A user of the control plane, by API token.
    User,
    /// A user who may manage other users.
    Admin,
}

/// What a call does to the state of the system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Changes nothing.
    Read,
    /// Changes something.
    Write,
}

/// Who may call one method.
#[derive(Debug)]
pub struct Policy {
    /// Path of the method, `/package.Service/Method`.
    pub method: &'static str,
    /// The roles that may call it.
    pub roles: &'static [Role],
    /// What the call does.
    pub effect: Effect,
}

/// Every method of ours, ordered by path.
pub const POLICIES: &[Policy] = include!("generated/policies.rs");

/// Health and reflection: they read, and on an agent they need the same proof as any other call.
const STANDARD: &[&str] = &[
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
];

const STANDARD_POLICY: Policy = Policy {
    method: "standard",
    roles: &[Role::Control, Role::Operator, Role::LocalRoot, Role::User, Role::Admin],
    effect: Effect::Read,
};

/// The policy of a method; none means that nobody may call it.
pub fn of(path: &str) -> Option<&'static Policy> {
    if STANDARD.iter().any(|it| path.starts_with(it)) {
        return Some(&STANDARD_POLICY);
    }
    POLICIES.binary_search_by(|it| it.method.cmp(path)).ok().and_then(|it| POLICIES.get(it))
}

impl Policy {
    /// Whether a caller of this role may call; `read_only` callers only read.
    pub fn allows(&self, role: Role, read_only: bool) -> bool {
        (self.roles.contains(&role) || self.roles.contains(&Role::Anyone))
            && (self.effect == Effect::Read || !read_only)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_ordered_so_that_it_can_be_searched() {
        assert!(POLICIES.is_sorted_by(|a, b| a.method < b.method));
    }

    #[test]
    fn a_method_without_policy_is_for_nobody() {
        assert!(of("/slipway.agent.v1.AppService/Unknown").is_none());
        assert!(of("/grpc.health.v1.Health").is_none());
    }

    #[test]
    fn an_agent_may_open_its_session_and_nothing_on_other_agents() {
        for policy in POLICIES {
            let expected = policy.method == "/slipway.control.v1.SessionService/Session"
                || policy.method == "/slipway.control.v1.EnrollmentService/Enroll";
            assert_eq!(policy.allows(Role::Agent, false), expected, "{}", policy.method);
        }
    }

    #[test]
    fn read_only_callers_change_nothing() {
        let policy = of("/slipway.agent.v1.AppService/RemoveApp").unwrap();
        assert!(policy.allows(Role::Operator, false));
        assert!(!policy.allows(Role::Operator, true));
    }
}
