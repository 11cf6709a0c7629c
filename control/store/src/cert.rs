//! The certificate authorities, the certificates they signed, and enrollment.

use crate::{
    audit::Entry,
    db::{Query, Tx, query},
    error::{Error, What},
    id::{At, ServerId, UserId},
    json::{self, JsonText},
    secret::{Sealed, insert_sealed},
    server::{self, AgentFacts, Server},
    store::System,
};

/// Which part an authority plays.
#[derive(Clone, Copy, Debug, Eq, PartialEq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum CaRole {
    /// Signs issuing authorities only.
    Root,
    /// Signs certificates of agents, replicas and operators.
    Issuing,
}

impl CaRole {
    const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuing => "issuing",
        }
    }
}

/// An authority. Its key is sealed for the installation under [`Ca::record`].
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct Ca {
    /// Its id: lower-case hex of its serial, or whatever its maker chose.
    #[sqlx(rename = "ca_id")]
    pub id: String,
    /// Which part it plays.
    pub role: CaRole,
    /// DER, base64.
    pub certificate: String,
    /// Until when it holds.
    pub not_after: At,
}

impl Ca {
    /// Where the key of an authority is sealed.
    pub fn record(id: &str) -> String {
        format!("ca|key|{id}")
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum CertProfile {
    /// An agent.
    Agent,
    /// A replica of the control plane.
    Control,
    /// A person who calls an agent.
    Operator,
}

impl CertProfile {
    const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Control => "control",
            Self::Operator => "operator",
        }
    }
}

/// A certificate that was signed.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct Cert {
    /// Serial number, lower-case hex.
    pub serial: String,
    /// What it is for.
    pub profile: CertProfile,
    /// SHA-256 of its public key, lower-case hex.
    pub spki_sha256: String,
    /// Whose it is; none: the control plane's own.
    #[sqlx(rename = "user_id")]
    pub user: Option<UserId>,
    /// Agent that it names or may be used with.
    pub agent_id: Option<String>,
    /// The chain: DER in base64, leaf first.
    pub chain: JsonText<Vec<String>>,
    /// Until when it holds.
    pub not_after: At,
}

/// A join token, as enrollment looks it up to know for whom to sign.
#[derive(Clone, Debug, Eq, PartialEq, sqlx::FromRow)]
pub struct JoinToken {
    /// SHA-256 of its secret, lower-case hex. Compare in constant time.
    pub secret_sha256: String,
    /// Whose server it is for.
    #[sqlx(rename = "user_id")]
    pub user: UserId,
    /// The server.
    #[sqlx(rename = "server_id")]
    pub server: ServerId,
    /// Until when it holds.
    pub expires_at: At,
    /// When it was used up.
    pub used_at: Option<At>,
    /// SHA-256 of the public key that used it up.
    pub used_by_spki: Option<String>,
}

/// An enrollment, ready to be recorded.
#[derive(Clone, Debug)]
pub struct Enrollment {
    /// Id of the join token.
    pub token: String,
    /// SHA-256 of its secret, lower-case hex.
    pub secret_sha256: String,
    /// The certificate that was signed; it names the agent.
    pub cert: Cert,
    /// What the agent says of itself.
    pub facts: AgentFacts,
}

/// How an enrollment went.
#[derive(Clone, Debug)]
pub enum Enrolled {
    /// The token was used up and the certificate recorded.
    New(Box<Server>),
    /// The same public key had used it up before: give this certificate again.
    Again(Box<Server>, Cert),
    /// There is no such token, or its secret is another.
    Unknown,
    /// It has expired.
    Expired,
    /// Another public key has used it up.
    Used,
}

const CERT_COLUMNS: &str = "serial, profile, spki_sha256, user_id, agent_id, chain, not_after";

impl System {
    /// The active authorities.
    pub async fn authorities(&self) -> Result<Vec<Ca>, Error> {
        const LIST: &str = "
            select ca_id, role, certificate, not_after from ca where state = 'active' order by role
        ";
        self.db().all(query("list authorities", LIST)).await
    }

    /// Records authorities with their sealed keys, if there are none yet; returns those that are
    /// kept, which are another replica's when that came first.
    pub async fn add_authorities(&self, new: &[(Ca, Sealed)]) -> Result<Vec<Ca>, Error> {
        match self.add_if_none(new).await {
            // Another replica's first start came between our look and our insert.
            Err(error) if error.is_unique_violation() => (),
            other => other?,
        }
        self.authorities().await
    }

    async fn add_if_none(&self, new: &[(Ca, Sealed)]) -> Result<(), Error> {
        const ANY: &str = "select 1 as one from ca where state = 'active' limit 1";
        let mut tx = self.db().begin().await?;
        let any: Option<(i32,)> = tx.optional(query("look for authorities", ANY)).await?;
        if any.is_some() {
            return Ok(());
        }
        for (ca, key) in new {
            self.insert_ca(&mut tx, ca, key).await?;
        }
        tx.commit().await
    }

    /// Puts an authority in the place of the active one of its role, which stays on record.
    pub async fn replace_authority(
        &self,
        ca: &Ca,
        key: &Sealed,
        audit: Entry,
    ) -> Result<(), Error> {
        const RETIRE: &str = "update ca set state = 'retired' where role = $1 and state = 'active'";
        let mut tx = self.db().begin().await?;
        tx.execute(query("retire an authority", RETIRE).bind(ca.role.name())).await?;
        self.insert_ca(&mut tx, ca, key).await?;
        audit.append(&mut tx, self.now()).await?;
        tx.commit().await
    }

    async fn insert_ca(&self, tx: &mut Tx, ca: &Ca, key: &Sealed) -> Result<(), Error> {
        const INSERT: &str = "
            insert into ca (ca_id, role, state, certificate, not_after, created_at)
            values ($1, $2, 'active', $3, $4, $5)
        ";
        let insert = query("record an authority", INSERT)
            .bind(&ca.id)
            .bind(ca.role.name())
            .bind(&ca.certificate)
            .bind(ca.not_after)
            .bind(self.now());
        tx.execute(insert).await?;
        insert_sealed(tx, UserId::SYSTEM, self.now(), key).await
    }

    /// Records a certificate that was signed.
    pub async fn add_cert(&self, cert: &Cert, audit: Entry) -> Result<(), Error> {
        let mut tx = self.db().begin().await?;
        self.insert_cert(&mut tx, cert).await?;
        audit.append(&mut tx, self.now()).await?;
        tx.commit().await
    }

    async fn insert_cert(&self, tx: &mut Tx, cert: &Cert) -> Result<(), Error> {
        const INSERT: &str = "
            insert into agent_cert
                (serial, profile, state, spki_sha256, user_id, agent_id, chain, not_after,
                created_at)
            values ($1, $2, 'active', $3, $4, $5, $6, $7, $8)
        ";
        let insert = query("record a certificate", INSERT)
            .bind(&cert.serial)
            .bind(cert.profile.name())
            .bind(&cert.spki_sha256)
            .bind(cert.user)
            .bind(cert.agent_id.clone())
            .bind(json::encode("a chain", &*cert.chain)?)
            .bind(cert.not_after)
            .bind(self.now());
        tx.execute(insert).await.map_err(|it| it.or_exists(What::Certificate, &cert.serial))?;
        Ok(())
    }

    /// The active certificate with this serial. None: it was revoked or never signed; refuse it.
    pub async fn active_cert(&self, serial: &str) -> Result<Option<Cert>, Error> {
        let text =
            format!("select {CERT_COLUMNS} from agent_cert where serial = $1 and state = 'active'");
        self.db().optional(Query::built("look up a certificate", text).bind(serial)).await
    }

    /// Revokes a certificate. Success when it is already revoked.
    pub async fn revoke_cert(&self, serial: &str, audit: Entry) -> Result<(), Error> {
        const REVOKE: &str = "
            update agent_cert set state = 'revoked', revoked_at = $2
            where serial = $1 and state = 'active'
        ";
        let mut tx = self.db().begin().await?;
        tx.execute(query("revoke a certificate", REVOKE).bind(serial).bind(self.now())).await?;
        audit.append(&mut tx, self.now()).await?;
        tx.commit().await
    }

    /// Looks a join token up.
    pub async fn join_token(&self, id: &str) -> Result<Option<JoinToken>, Error> {
        const READ: &str = "
            select secret_sha256, user_id, server_id, expires_at, used_at, used_by_spki
            from join_token where token_id = $1
        ";
        self.db().optional(query("look up a join token", READ).bind(id)).await
    }

    /// Uses a join token up and records the certificate, at once: of any number of callers one
    /// wins.
    pub async fn enroll(&self, new: Enrollment, audit: Entry) -> Result<Enrolled, Error> {
        const CONSUME: &str = "
            update join_token set used_at = $4, used_by_spki = $3
            where token_id = $1 and secret_sha256 = $2 and used_at is null and expires_at > $4
            returning server_id
        ";
        // An agent that enrolls again under another id leaves its earlier one behind.
        const SUPERSEDE: &str = "
            update agent_cert set state = 'revoked', revoked_at = $3
            where state = 'active' and agent_id <> $2
            and agent_id = (select agent_id from server where server_id = $1)
        ";
        let now = self.now();
        let mut tx = self.db().begin().await?;
        let consume = query("use a join token", CONSUME)
            .bind(&new.token)
            .bind(&new.secret_sha256)
            .bind(&new.cert.spki_sha256)
            .bind(now);
        let row: Option<(ServerId,)> = tx.optional(consume).await?;
        let Some((server,)) = row else {
            drop(tx);
            return self.why_not(new).await;
        };
        let supersede = query("revoke earlier certificates", SUPERSEDE)
            .bind(server)
            .bind(new.cert.agent_id.clone())
            .bind(now);
        tx.execute(supersede).await?;
        let text = format!(
            "update server
            set state = 'offline', agent_id = $2, agent_version = $3, docker_version = $4,
                boot_id = $5, droplet_id = $6, address = $7, reason = '', deadline_at = null,
                session_id = null, session_owner = null, last_seen_at = $8
            where server_id = $1 and removed_at is null returning {}",
            server::COLUMNS
        );
        let update = Query::built("enroll a server", text)
            .bind(server)
            .bind(new.cert.agent_id.clone())
            .bind(&new.facts.agent_version)
            .bind(&new.facts.docker_version)
            .bind(&new.facts.boot_id)
            .bind(new.facts.droplet_id)
            .bind(&new.facts.address)
            .bind(now);
        let Some(server) = tx.optional(update).await? else { return Ok(Enrolled::Unknown) };
        self.insert_cert(&mut tx, &new.cert).await?;
        audit.append(&mut tx, now).await?;
        tx.commit().await?;
        Ok(Enrolled::New(Box::new(server)))
    }

    /// Tells why a token was not used up.
    async fn why_not(&self, new: Enrollment) -> Result<Enrolled, Error> {
        let Some(token) = self.join_token(&new.token).await? else { return Ok(Enrolled::Unknown) };
        if token.secret_sha256 != new.secret_sha256 {
            return Ok(Enrolled::Unknown);
        }
        if token.used_at.is_some() && token.used_by_spki.as_ref() == Some(&new.cert.spki_sha256) {
            if token.expires_at <= self.now() {
                return Ok(Enrolled::Expired);
            }
            let text = format!(
                "select {CERT_COLUMNS} from agent_cert
                where spki_sha256 = $1 and profile = 'agent' and state = 'active'
                order by created_at limit 1"
            );
            let find = Query::built("look up a certificate", text).bind(new.cert.spki_sha256);
            return match self.db().optional(find).await? {
                Some(cert) => Ok(Enrolled::Again(Box::new(self.server(token.server).await?), cert)),
                None => Ok(Enrolled::Used),
            };
        }
        Ok(if token.used_at.is_some() { Enrolled::Used } else { Enrolled::Expired })
    }
}
