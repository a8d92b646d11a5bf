from __future__ import annotations

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from mm_client.doctor.identity import Found

VALUES = st.one_of(st.floats(), st.integers(), st.text(max_size=5), st.booleans(), st.none(), st.just([]))


def found(token: str) -> Found:
    return Found("DOMINO_USER_TOKEN", (("authorization", f"Bearer {token}"),), 1000.0)


@given(claims=st.dictionaries(st.sampled_from(["exp", "iat"]), VALUES))
def test_whatever_a_token_says_is_put_into_words_without_it(claims: dict[str, object]) -> None:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    each = found(f"e30.{payload}.sig")
    assert str(each).startswith("token of DOMINO_USER_TOKEN, which ")
    assert payload not in str(each)
    assert each.secret == f"e30.{payload}.sig"


def test_the_end_of_a_token_is_said() -> None:
    for end, words in ((1090, "ends in 1 min 30 s"), (1000, "ended 0 s ago"), (1, "ended 16 min 39 s ago")):
        payload = base64.urlsafe_b64encode(json.dumps({"exp": end}).encode()).decode().rstrip("=")
        assert str(found(f"e30.{payload}.sig")) == f"token of DOMINO_USER_TOKEN, which {words}"
    key = Found("DOMINO_USER_API_KEY", (("x-domino-api-key", "a s3cret b"),), 1000.0)
    assert (str(key), key.secret) == ("API key of DOMINO_USER_API_KEY", "a s3cret b")
