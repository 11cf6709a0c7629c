-- The first schema. One text for SQLite and PostgreSQL: only `text`, `bigint` and `boolean`.
-- Times are microseconds since 1970 (`…_at`), ids UUIDv7 in text (they sort by creation), lists and
-- other free shapes JSON in text, bytes base64 or lower-case hex in text.

-- Facts about this installation, such as its id.
create table meta (
    name text not null primary key,
    value text not null
);

-- Numbers that only grow. A row is also the lock under which its number is given out, so that
-- numbers become visible in their order:
--   event: position of the newest event of all;
--   epoch: newest fencing number. One for all operations, because agents compare the epochs of
--          successive operations on the same app.
create table counter (
    name text not null primary key,
    value bigint not null
);
insert into counter (name, value) values ('event', 0);
insert into counter (name, value) values ('epoch', 0);

-- Users. Not called `user`, which PostgreSQL reserves.
create table account (
    user_id text not null primary key,
    name text not null unique,
    admin boolean not null,
    created_at bigint not null
);

-- API tokens; the token itself is `swp_<pin>_<token_id>_<secret>`.
create table api_token (
    token_id text not null primary key,
    user_id text not null references account (user_id),
    name text not null,
    secret_sha256 text not null,
    read_only boolean not null,
    created_at bigint not null,
    expires_at bigint not null,
    last_used_at bigint -- to the minute, so that a busy token costs one write a minute
);
create index api_token_user on api_token (user_id);

-- Key-encryption keys, one per user, wrapped by the master key. Removing a row destroys everything
-- that is sealed for the user. No reference to account: the installation itself has one, too,
-- under the nil UUID.
create table vault_key (
    user_id text not null primary key,
    master_version bigint not null,
    nonce text not null,
    wrapped text not null,
    created_at bigint not null
);

-- Sealed values. `record` says where the value belongs (`table|column|row`) and is authenticated
-- with it, as are the user and the version: a ciphertext that is moved does not open.
create table sealed (
    user_id text not null,
    record text not null,
    version bigint not null,
    key_nonce text not null, -- the value's own key, wrapped by the user's
    wrapped_key text not null,
    nonce text not null,
    ciphertext text not null,
    created_at bigint not null,
    primary key (user_id, record)
);

-- Outside accounts: cloud tokens, registries, git hosts. The secret is sealed under
-- `credential|secret|<credential_id>`.
create table credential (
    credential_id text not null primary key,
    user_id text not null references account (user_id),
    kind text not null check (kind in ('digitalocean', 'registry', 'git')),
    name text not null,
    detail text not null, -- host or user name, for people
    key_version bigint not null, -- which derivation of `x-api-key` it feeds
    created_at bigint not null,
    unique (user_id, kind, name)
);

-- The certificate authorities. Keys are sealed under `ca|key|<ca_id>`.
create table ca (
    ca_id text not null primary key,
    role text not null check (role in ('root', 'issuing')),
    state text not null check (state in ('active', 'retired')),
    certificate text not null, -- DER, base64
    not_after bigint not null,
    created_at bigint not null
);
create unique index ca_active on ca (role) where state = 'active';

-- Servers. A removed one keeps its row: audit and billing read it.
create table server (
    server_id text not null primary key,
    user_id text not null references account (user_id),
    name text not null,
    state text not null check (state in ('provisioning', 'online', 'offline', 'failed')),
    agent_id text unique, -- null before enrollment
    address text not null default '',
    agent_version text not null default '',
    docker_version text not null default '',
    boot_id text not null default '',
    droplet_id bigint not null default 0, -- 0: not a droplet
    region text not null default '',
    image text not null default '',
    key_version bigint not null default 1,
    problems text not null default '[]',
    figures text not null default '{}', -- what the last heartbeat said
    reason text not null default '', -- why `failed`
    session_id text, -- the session that lives; set exactly while `online`
    session_owner text, -- the replica that holds it
    last_seen_at bigint,
    deadline_at bigint, -- past it, 'provisioning' becomes 'failed'
    created_at bigint not null,
    removed_at bigint,
    check ((state = 'online') = (session_id is not null))
);
create unique index server_name on server (user_id, name) where removed_at is null;
create index server_deadline on server (deadline_at) where state = 'provisioning';

-- Join tokens, single-use. Used up in the transaction that inserts the certificate.
create table join_token (
    token_id text not null primary key,
    user_id text not null references account (user_id),
    server_id text not null references server (server_id),
    secret_sha256 text not null,
    created_at bigint not null,
    expires_at bigint not null,
    used_at bigint,
    used_by_spki text,
    check ((used_at is null) = (used_by_spki is null))
);
create index join_token_server on join_token (server_id);

-- Certificates that we signed. One that has no active row here is refused, whatever its signature.
create table agent_cert (
    serial text not null primary key, -- lower-case hex
    profile text not null check (profile in ('agent', 'control', 'operator')),
    state text not null check (state in ('active', 'revoked')),
    spki_sha256 text not null,
    user_id text references account (user_id), -- null: the control plane's own
    agent_id text, -- set for agents
    chain text not null, -- JSON list of DER in base64, leaf first
    not_after bigint not null,
    created_at bigint not null,
    revoked_at bigint,
    check ((state = 'revoked') = (revoked_at is not null))
);
create index agent_cert_agent on agent_cert (agent_id);
create index agent_cert_spki on agent_cert (spki_sha256);

-- Operations: anything that spans more than one effect.
create table operation (
    operation_id text not null primary key,
    user_id text not null references account (user_id),
    kind text not null,
    state text not null check (state in ('open', 'done')),
    input text not null, -- JSON, the handler's own; no secret in it
    idempotency_key text,
    owner text, -- replica that works on it
    lease_until bigint not null, -- by the database's clock
    epoch bigint not null, -- 0: nobody has had it yet
    run_at bigint not null, -- not before; by the database's clock
    deadline_at bigint not null, -- when it must give up
    cancel_requested boolean not null,
    last_seq bigint not null, -- newest event
    log_count bigint not null, -- log events among them
    created_at bigint not null,
    ended_at bigint,
    check ((state = 'done') = (ended_at is not null)),
    unique (user_id, idempotency_key)
);
create index operation_open on operation (run_at, operation_id) where state = 'open';
create index operation_user on operation (user_id, operation_id);

-- Finished steps, with what they gave.
create table step (
    operation_id text not null references operation (operation_id),
    name text not null,
    result text not null,
    at bigint not null,
    primary key (operation_id, name)
);

-- What happened, in order. `seq` counts within the operation, without gaps, from 1; `pos` over all.
create table event (
    pos bigint not null primary key,
    operation_id text not null references operation (operation_id),
    seq bigint not null,
    at bigint not null,
    server text not null,
    phase text not null,
    kind text not null check (kind in ('log', 'progress', 'step', 'done')),
    body text not null,
    unique (operation_id, seq)
);

-- Apps. A removed one keeps its row, for its deployments.
create table app (
    app_id text not null primary key,
    user_id text not null references account (user_id),
    name text not null,
    environment text not null,
    tags text not null default '[]',
    stopped boolean not null,
    release bigint not null, -- the serving one; 0: none yet
    last_release bigint not null, -- highest number given out
    deployed_at bigint,
    created_at bigint not null,
    removed_at bigint
);
create unique index app_name on app (user_id, name, environment) where removed_at is null;

-- Where an app runs.
create table app_server (
    app_id text not null references app (app_id),
    server_id text not null references server (server_id),
    release bigint not null,
    image_id text not null,
    urls text not null,
    primary key (app_id, server_id)
);
create index app_server_server on app_server (server_id);

-- Which operation may change an app now.
create table app_lock (
    app_id text not null primary key references app (app_id),
    operation_id text not null references operation (operation_id),
    at bigint not null
);
create index app_lock_operation on app_lock (operation_id);

-- Deployments: what an operation of kind `deployment` is about.
create table deployment (
    operation_id text not null primary key references operation (operation_id),
    user_id text not null references account (user_id),
    app_id text not null references app (app_id),
    app text not null,
    environment text not null,
    release bigint not null,
    state text not null
    check (state in ('queued', 'running', 'undoing', 'succeeded', 'failed', 'stuck')),
    source text not null check (source in ('code', 'git', 'image', 'rollback')),
    source_detail text not null,
    blob text, -- SHA-256 of its archive, once that is complete; keeps the blob alive
    error text, -- JSON
    created_at bigint not null,
    ended_at bigint,
    check ((state in ('succeeded', 'failed', 'stuck')) = (ended_at is not null))
);
create index deployment_user on deployment (user_id, operation_id);
create index deployment_app on deployment (app_id, operation_id);
create index deployment_blob on deployment (blob) where ended_at is null;

-- How a deployment stands on each of its servers. Names are kept as they were.
create table deployment_server (
    operation_id text not null references deployment (operation_id),
    server_id text not null references server (server_id),
    name text not null,
    address text not null,
    state text not null check (state in ('pending', 'running', 'succeeded', 'failed')),
    image_id text not null default '',
    urls text not null default '[]',
    error text, -- JSON
    agent_seq bigint not null default 0, -- agent's newest event that is among ours
    primary key (operation_id, server_id)
);

-- Releases: immutable versions of an app. Secrets of `spec` are sealed under
-- `release|secrets|<operation_id>`.
create table release (
    app_id text not null references app (app_id),
    number bigint not null,
    operation_id text not null references operation (operation_id),
    spec text not null, -- JSON, without secrets
    source text not null,
    source_detail text not null,
    image_id text not null default '',
    kept boolean not null, -- whether its image is still somewhere to roll back to
    created_at bigint not null,
    committed_at bigint, -- null: never served
    primary key (app_id, number)
);

-- Who did what. Append-only; each row's hash covers the one before it.
create table audit (
    seq bigint not null primary key,
    at bigint not null,
    actor text not null,
    action text not null,
    object text not null,
    result text not null,
    prev_hash text not null,
    hash text not null
);

-- The newest row of audit, kept apart so that a cut end is noticed. Its row is the lock.
create table audit_head (
    name text not null primary key,
    seq bigint not null,
    hash text not null
);
insert into audit_head (name, seq, hash) values ('head', 0, '');
