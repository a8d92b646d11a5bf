from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domino_identity.credential import Credential, Kind, UnusableCredential, from_headers


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ([("x-domino-api-key", "k3y")], Credential(Kind.API_KEY, "k3y")),
        ([("X-Domino-Api-Key", "k3y")], Credential(Kind.API_KEY, "k3y")),
        ([("x-domino-api-key", " k3y ")], Credential(Kind.API_KEY, "k3y")),
        ([("authorization", "Bearer a.b.c")], Credential(Kind.TOKEN, "a.b.c")),
        ([("authorization", "Bearer k")], Credential(Kind.API_KEY, "k")),
        ([("authorization", "Bearer " + "k" * 256)], Credential(Kind.API_KEY, "k" * 256)),
        ([("authorization", "Bearer " + "k" * 257)], Credential(Kind.TOKEN, "k" * 257)),
        ([("authorization", "bearer  a.b.c ")], Credential(Kind.TOKEN, "a.b.c")),
        ([("authorization", "Bearer t"), ("x-domino-api-key", "k")], Credential(Kind.API_KEY, "k")),
        ([("user-agent", "x"), ("x-domino-api-key", "k")], Credential(Kind.API_KEY, "k")),
        ([("x-domino-api-key", "k" * 256)], Credential(Kind.API_KEY, "k" * 256)),
        ([("authorization", "Bearer " + "t" * 16384)], Credential(Kind.TOKEN, "t" * 16384)),
    ],
)
def test_found(metadata: list[tuple[str, str | bytes]], expected: Credential) -> None:
    assert from_headers(metadata, noun="metadata") == expected


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ([], "missing credentials: send metadata x-domino-api-key"),
        ([("x-domino-api-key-bin", b"k")], "missing credentials"),
        ([("authorization-bin", b"Bearer a")], "missing credentials"),
        ([("x-domino-api-\u212aey", "k")], "missing credentials"),
        ([("X-Domino-Api-Key", "a"), ("x-domino-api-key", "b")], "given more than once"),
        ([("x-domino-api-key", "k\n")], "characters that no credential has"),
        ([("x-domino-api-key", "k\xa0")], "characters that no credential has"),
        ([("x-domino-api-key", ""), ("authorization", "Bearer a")], "metadata x-domino-api-key is empty"),
        ([("authorization", "Bearer a b")], "characters that no credential has"),
        ([("x-domino-api-key", "")], "metadata x-domino-api-key is empty"),
        ([("x-domino-api-key", "a b")], "characters that no credential has"),
        ([("x-domino-api-key", "a\r\nX-Other: b")], "characters that no credential has"),
        (
            [("x-domino-api-key", "k" * 257)],
            "metadata x-domino-api-key holds 257 bytes; expected a Domino API key of at most 256",
        ),
        (
            [("authorization", "Bearer " + "t" * 16385)],
            "metadata authorization holds 16385 bytes; expected a token of at most 16384",
        ),
        ([("x-domino-api-key", "\xa0" * 257)], "holds 257 bytes"),
        ([("x-domino-api-key", "a"), ("x-domino-api-key", "b")], "given more than once"),
        ([("authorization", "Bearer a"), ("authorization", "Bearer a")], "given more than once"),
        ([("authorization", "Basic dTpw")], "not of the form 'Bearer <token>'"),
        ([("authorization", "Bearer")], "metadata authorization is empty"),
        ([("authorization", "")], "not of the form 'Bearer <token>'"),
    ],
)
def test_refused(metadata: list[tuple[str, str | bytes]], text: str) -> None:
    with pytest.raises(UnusableCredential, match=text.replace("(", r"\(")):
        from_headers(metadata, noun="metadata")


def test_texts_call_a_header_what_the_protocol_calls_it() -> None:
    with pytest.raises(UnusableCredential, match=r"^missing credentials: send header x-domino-api-key "):
        from_headers([])
    with pytest.raises(UnusableCredential, match=r"^header authorization is not of the form"):
        from_headers([("Authorization", "Basic dTpw")])


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
        credential = from_headers(metadata, noun="metadata")
    except UnusableCredential:
        return
    name, value = credential.header
    assert name == ("X-Domino-Api-Key" if credential.kind is Kind.API_KEY else "Authorization")
    assert value == (credential.secret if credential.kind is Kind.API_KEY else f"Bearer {credential.secret}")
    assert all("!" <= character <= "~" for character in credential.secret)
    assert repr(credential) == f"Credential(kind={credential.kind!r})"
