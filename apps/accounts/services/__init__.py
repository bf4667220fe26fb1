"""What people and machines may do to accounts: one function per verb."""

from apps.accounts.services.people import (
    change_password,
    create_person,
    create_team,
    ensure_first_admin,
    grant_role,
    reset_password,
    revoke_role,
    set_active,
    set_email,
)
from apps.accounts.services.sign_in import (
    forget_old_failures,
    signed_in,
    signed_out,
    tidy,
    verify,
)
from apps.accounts.services.tokens import create_token, note_use, revoke_token

__all__ = [
    "change_password",
    "create_person",
    "create_team",
    "create_token",
    "ensure_first_admin",
    "forget_old_failures",
    "grant_role",
    "note_use",
    "reset_password",
    "revoke_role",
    "revoke_token",
    "set_active",
    "set_email",
    "signed_in",
    "signed_out",
    "tidy",
    "verify",
]
