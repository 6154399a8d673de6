"""Second factors: passkeys, TOTP and recovery codes."""
