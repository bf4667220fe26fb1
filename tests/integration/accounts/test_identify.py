"""Who asks, for ASGI applications beside Django."""

import base64

import pytest
from asgiref.sync import async_to_sync
from django.test import Client

from apps.accounts import identify
from controlplane.kernel.actor import ANONYMOUS, Actor
from controlplane.kernel.errors import Denied
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


def ask(**headers: str) -> Actor:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    scope = {"type": "http", "headers": pairs, "client": ("10.0.0.9", 1)}
    return async_to_sync(identify.from_scope)(scope)


def test_nobody_is_anonymous() -> None:
    assert ask() is ANONYMOUS
    assert ask(cookie="modelyard_session=nonsense; theme=dark") is ANONYMOUS


def test_a_token_comes_as_bearer_or_as_the_password_of_basic() -> None:
    token, secret = factories.token(role="viewer")
    basic = base64.b64encode(f"whoever:{secret}".encode()).decode()
    assert ask(authorization=f"Bearer {secret}").name == ask(authorization=f"Basic {basic}").name
    token.refresh_from_db()
    assert token.last_used_from == "10.0.0.9"


def test_a_wrong_token_is_refused_even_beside_a_good_session() -> None:
    browser = Client()
    browser.force_login(factories.person(role="viewer"))
    cookie = f"modelyard_session={browser.cookies['modelyard_session'].value}"
    assert ask(cookie=cookie).grants
    with pytest.raises(Denied):
        ask(cookie=cookie, authorization="Bearer my_nonsense")
