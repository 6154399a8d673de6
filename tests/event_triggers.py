"""Triggers in every test database: a transaction of the service that publishes no event for its change fails.

So each test that changes users, groups, credentials or sessions over HTTP or with a command also proves that the change
is in the outbox, and that the newest event of a user has the user's state at the commit. Statements of the tests' own
connections publish nothing, and are not checked.
"""

import asyncpg

# By table: the types, the subject as SQL over the row `r`, and the columns whose change needs an event.
_CHECKED = {
    "users": (
        "idp.user.%",
        "r->>'id'",
        "email email_verified name avatar_url plan is_active deleted_at password_hash:password_version",
    ),
    "user_roles": ("idp.user.%", "r->>'user_id'", "role"),
    "identities": ("idp.identity.%", "r->>'user_id'", "user_id provider subject"),
    "teams": ("idp.team.%", "'team:' || (r->>'id')", "name external_ref is_active"),
    "team_memberships": ("idp.team.member%", "r->>'user_id'", "role"),
    "domains": ("idp.domain.%", "'domain:' || (r->>'id')", "key name parent_domain_id is_active"),
    "user_domains": ("idp.domain.user%", "r->>'user_id'", "user_id"),
    "api_keys": (
        "%",
        "coalesce(r->>'user_id', 'service_token:' || (r->>'id'))",
        "name scopes prefix expires_at revoked_at",
    ),
    "user_sessions": ("idp.session.revoked", "r->>'user_id'", "ended_at"),
}
_ONLY_UPDATES = {"user_sessions"}  # a sign-in is no event, nor is the deletion of an expired session

_FUNCTION = """
CREATE FUNCTION checked.{table}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    r jsonb := coalesce(to_jsonb(NEW), to_jsonb(OLD));
    changed boolean := TG_OP <> 'UPDATE';
    part text;
    newest record;
BEGIN
    IF current_setting('application_name') <> 'idp' THEN RETURN NULL; END IF;
    IF TG_OP = 'UPDATE' THEN
        FOREACH part IN ARRAY string_to_array('{columns}', ' ') LOOP
            changed := changed OR (SELECT bool_and(to_jsonb(OLD)->c IS DISTINCT FROM to_jsonb(NEW)->c)
                                     FROM unnest(string_to_array(part, ':')) c);
        END LOOP;
    END IF;
    IF NOT changed THEN RETURN NULL; END IF;
    SELECT type, sequence, data INTO newest FROM idp.outbox
     WHERE transaction = (pg_current_xact_id()::text)::bigint AND type LIKE '{types}' AND subject = {subject}
     ORDER BY seq DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING MESSAGE = 'no event {types} for this ' || TG_OP || ' of idp.{table}';
    END IF;
    {more}
    RETURN NULL;
END $$
"""
_SAME_STATE = """
    IF newest.type <> 'idp.user.deleted' AND EXISTS (
        SELECT FROM idp.users u
         WHERE u.id = r->>'id'
           AND ((newest.data->'user') @> jsonb_build_object(
                    'email', u.email, 'email_verified', u.email_verified, 'name', u.name, 'avatar_url', u.avatar_url,
                    'plan', u.plan, 'is_active', u.is_active, 'version', u.version,
                    'roles', to_jsonb(ARRAY(SELECT role FROM idp.user_roles WHERE user_id = u.id ORDER BY role))
                )) IS NOT TRUE) THEN
        RAISE EXCEPTION 'the newest event of the user is not the state at the commit: %', newest.data;
    END IF;
"""


async def install(connection: asyncpg.Connection) -> None:
    """Create the triggers in a migrated database; they check at the commit. Nothing happens if they are there."""
    if await connection.fetchval("SELECT to_regnamespace('checked')") is not None:
        return
    await connection.execute("CREATE SCHEMA checked; GRANT USAGE ON SCHEMA checked TO PUBLIC")
    for table, (types, subject, columns) in _CHECKED.items():
        more = _SAME_STATE if table == "users" else ""
        events = "UPDATE" if table in _ONLY_UPDATES else "INSERT OR UPDATE OR DELETE"
        await connection.execute(
            _FUNCTION.format(table=table, types=types, subject=subject, columns=columns, more=more)
        )
        await connection.execute(
            f"CREATE CONSTRAINT TRIGGER checked AFTER {events} ON idp.{table} DEFERRABLE INITIALLY DEFERRED "
            f"FOR EACH ROW EXECUTE FUNCTION checked.{table}()"
        )


async def remove(url: str) -> None:
    """Remove the triggers, for tests that write without the service, on connections that look like its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DROP SCHEMA IF EXISTS checked CASCADE")
    finally:
        await connection.close()
