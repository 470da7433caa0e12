-- The tables of LiteLLM's schema that the auth path reads, with the columns that it needs. Names
-- and types follow LiteLLM's migrations, so that a statement means the same on both targets.

CREATE TABLE "LiteLLM_BudgetTable" (
    budget_id text PRIMARY KEY,
    max_budget double precision,
    soft_budget double precision,
    tpm_limit bigint,
    rpm_limit bigint,
    created_by text NOT NULL DEFAULT 'harness',
    updated_by text NOT NULL DEFAULT 'harness',
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE "LiteLLM_TeamTable" (
    team_id text PRIMARY KEY,
    team_alias text,
    spend double precision NOT NULL DEFAULT 0,
    max_budget double precision,
    soft_budget double precision,
    tpm_limit bigint,
    rpm_limit bigint,
    models text[],
    blocked boolean NOT NULL DEFAULT false,
    metadata jsonb NOT NULL DEFAULT '{}',
    members_with_roles jsonb NOT NULL DEFAULT '[]',
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE "LiteLLM_UserTable" (
    user_id text PRIMARY KEY,
    user_alias text,
    user_email text,
    user_role text,
    spend double precision NOT NULL DEFAULT 0,
    max_budget double precision,
    tpm_limit bigint,
    rpm_limit bigint,
    models text[],
    teams text[] DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamp(3) DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE "LiteLLM_TeamMembership" (
    user_id text NOT NULL,
    team_id text NOT NULL,
    spend double precision NOT NULL DEFAULT 0,
    budget_id text REFERENCES "LiteLLM_BudgetTable" (budget_id),
    PRIMARY KEY (user_id, team_id)
);

CREATE TABLE "LiteLLM_VerificationToken" (
    token text PRIMARY KEY,
    key_name text,
    key_alias text,
    user_id text,
    team_id text,
    spend double precision NOT NULL DEFAULT 0,
    expires timestamp(3),
    models text[],
    max_budget double precision,
    tpm_limit bigint,
    rpm_limit bigint,
    blocked boolean,
    budget_id text REFERENCES "LiteLLM_BudgetTable" (budget_id),
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamp(3) DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp(3) DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX ON "LiteLLM_VerificationToken" (key_alias);

-- Ours: the last flush of spend that each worker committed (the switch spend_flush).
CREATE TABLE "Harness_SpendFlush" (
    writer text PRIMARY KEY,
    number bigint NOT NULL
);
