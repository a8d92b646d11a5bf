from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triton_proxy.auth.credential import Credential, UnusableCredential, from_metadata


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ([("x-domino-api-key", "k3y")], Credential("X-Domino-Api-Key", "k3y")),
        ([("x-domino-api-key", " k3y ")], Credential("X-Domino-Api-Key", "k3y")),
        ([("authorization", "Bearer a.b.c")], Credential("Authorization", "Bearer a.b.c")),
        ([("authorization", "bearer  a.b.c ")], Credential("Authorization", "Bearer a.b.c")),
        ([("authorization", "Bearer t"), ("x-domino-api-key", "k")], Credential("X-Domino-Api-Key", "k")),
        ([("user-agent", "x"), ("x-domino-api-key", "k")], Credential("X-Domino-Api-Key", "k")),
    ],
)
def test_found(metadata: list[tuple[str, str | bytes]], expected: Credential) -> None:
    assert from_metadata(metadata) == expected


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ([], "missing credentials: send metadata x-domino-api-key"),
        ([("x-domino-api-key-bin", b"k")], "missing credentials"),
        ([("x-domino-api-key", "")], "metadata x-domino-api-key is empty"),
        ([("x-domino-api-key", "a b")], "characters that no credential has"),
        ([("x-domino-api-key", "a\r\nX-Other: b")], "characters that no credential has"),
        ([("x-domino-api-key", "k" * 20_000)], "too long"),
        ([("x-domino-api-key", "a"), ("x-domino-api-key", "b")], "given more than once"),
        ([("authorization", "Bearer a"), ("authorization", "Bearer a")], "given more than once"),
        ([("authorization", "Basic dTpw")], "not of the form 'Bearer <token>'"),
        ([("authorization", "Bearer")], "metadata authorization is empty"),
        ([("authorization", "")], "not of the form 'Bearer <token>'"),
    ],
)
def test_refused(metadata: list[tuple[str, str | bytes]], text: str) -> None:
    with pytest.raises(UnusableCredential, match=text.replace("(", r"\(")):
        from_metadata(metadata)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["x-domino-api-key", "authorization", "other"]),
            st.one_of(st.text(max_size=20), st.binary(max_size=20), st.text(max_size=9).map("Bearer {}".format)),
        ),
        max_size=3,
    )
)
def test_whatever_passes_is_one_clean_header(metadata: list[tuple[str, str | bytes]]) -> None:
    try:
        credential = from_metadata(metadata)
    except UnusableCredential:
        return
    assert credential.header in ("X-Domino-Api-Key", "Authorization")
    assert credential.value.removeprefix("Bearer ").isascii()
    assert credential.value.isprintable()
    assert repr(credential) == f"Credential(header={credential.header!r})"
